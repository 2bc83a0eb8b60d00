"""`make demo`: the whole way of an update on this machine, with real input where there is a network.

A server is started on its embedded default; two releases of a few Python packages, laid out as a small operating-system
tree and as an image, are published; a device folder gets the first, then the second; one table says what it cost.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smidgen_benchmarks import trees, wheels
from smidgen_benchmarks.measure import StepFailed
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_benchmarks.service import serving
from smidgen_deltas.errors import SmidgenError, TransportError

RELEASES: Final = {
    "first": {"numpy": "2.2.5", "pandas": "2.2.2", "cryptography": "44.0.2", "click": "8.1.7"},
    "second": {"numpy": "2.2.6", "pandas": "2.2.3", "cryptography": "44.0.3", "click": "8.1.8"},
}
NOT_TAKEN: Final = ("__pycache__", "*-packages", "test", "tests", "ensurepip", "idlelib", "lib2to3", "config-*", "*.so")
SITE: Final = "usr/lib/python3/dist-packages"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; sizes in bytes. `full` is what a machine without the first version would fetch."""

    what: str
    files: int
    full: int
    fetched: int
    requests: int
    seconds: float
    verified: bool


def main() -> int:
    """Run the demo; the exit code is that of the first step that failed."""
    folder = Path(tempfile.mkdtemp(prefix="smidgen-demo-"))
    try:
        rows = list(run(folder))
    except SmidgenError as error:
        print(f"the demo stopped: {error}\n{error.advice()}", file=sys.stderr)
        return error.exit
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(rows))
    return 0 if all(row.verified for row in rows) else 1


def run(folder: Path) -> Iterator[Row]:
    """Make both versions below `folder`, publish them one after the other, pull each; yield what the pulls cost."""
    sources = {version: folder / version for version in RELEASES}
    fetched = _fetch(folder / "wheels")
    for version, source in sources.items():
        _lay_out(version, source, fetched)
    repo, images = folder / "repo", folder / "images"
    say("starting a server: SQLite and a local folder; the device takes the fewest bytes (--prefer bytes)")
    with serving(folder / "data", folder / "server.log") as service:
        for version, source in sources.items():
            trees.commit_folder(source, repo, "stable", f"{version} version")
            trees.image_of_folder(source, images, "stable", folder)
            say(f"publishing the {version} version as ostree commit and as image")
            server = ["--server", service.url, "--token-file", str(service.token_file)]
            smidgen("publish", f"ostree:{repo}@stable", "demo/stable", *server)
            smidgen("publish", f"oci:{images}:stable", "demo:stable", *server)
            if version == "second":
                say("waiting until the server has made the deltas")
                service.settle()
            for ref, target in (
                ("ostree/demo/stable", f"ostree:{folder / 'device.repo'}"),
                ("oci/demo:stable", f"oci:{folder / 'device.oci'}:stable"),
            ):
                # a state of its own per world, so that each line stands for itself; fewest bytes, since loopback is so
                # fast that whatever takes the least work would be taken
                state = folder / f"state-{ref.partition('/')[0]}"
                yield _pull(service.url, ref, target, state, version, _full(service.url, ref, folder))


def _full(url: str, ref: str, folder: Path) -> int:
    """What a device without anything would fetch, bytes."""
    empty = f"ostree:{folder / 'nothing'}" if ref.startswith("ostree") else f"oci:{folder / 'nothing'}:stable"
    state = str(folder / "state-nothing")
    asked = smidgen("pull", url, ref, "--into", empty, "--state", state, "--dry-run", "--prefer", "bytes")
    return int(asked["bytes_full"])


def _pull(url: str, ref: str, target: str, state: Path, version: str, full: int) -> Row:
    started = time.perf_counter()
    result = smidgen("pull", url, ref, "--into", target, "--state", str(state), "--prefer", "bytes")
    seconds = time.perf_counter() - started
    checked = smidgen("verify", target, "--state", str(state))
    kind = "ostree commit" if ref.startswith("ostree") else "OCI image"
    what = f"{kind}, {'from nothing' if version == 'first' else 'update'}"
    return Row(
        what,
        int(result["files"]),
        full,
        int(result["bytes_fetched"]),
        int(result["requests"]),
        seconds,
        bool(checked["ok"]),
    )


def table(rows: Iterable[Row]) -> str:
    """The one table."""
    lines = [
        "",
        f"{'':28} {'files':>7} {'in full':>13} {'fetched':>13} {'share':>7} {'requests':>9} {'seconds':>8}  every file",
    ]
    for row in rows:
        share = f"{100 * row.fetched / row.full:.1f} %" if row.full else "-"
        verdict = "verified" if row.verified else "NOT VERIFIED"
        lines.append(
            f"{row.what:28} {row.files:7,} {row.full:13,} {row.fetched:13,} {share:>7} {row.requests:9} "
            f"{row.seconds:8.2f}  {verdict}"
        )
    return "\n".join(lines)


def smidgen(*words: str) -> dict[str, Any]:
    """Run a smidgen command with --json; its last line, parsed. Raises StepFailed."""
    done = subprocess.run([*SMIDGEN, *words, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailed("a command failed", command=" ".join(words), exit=done.returncode, output=done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def say(text: str) -> None:
    print(f"… {text}", flush=True)


def _fetch(kept: Path) -> dict[str, list[Path]]:
    """The packages of all versions; none at all where one cannot be had, so that both trees are of one kind."""
    found: dict[str, list[Path]] = {version: [] for version in RELEASES}
    try:
        for version, packages in RELEASES.items():
            for project, release in packages.items():
                say(f"fetching {project} {release} from PyPI")
                found[version].append(wheels.fetch_wheel(project, release, "amd64", kept))
    except TransportError as error:
        say(f"no network, or no such package ({error.message}); using a small tree made on the spot instead")
        return {}
    return found


def _lay_out(version: str, tree: Path, fetched: dict[str, list[Path]]) -> None:
    """A small operating-system tree with the packages of that version, or a made-up one where there are none."""
    (tree / SITE).mkdir(parents=True)
    (tree / "usr/lib/os-release").write_text(f'ID=demo\nVERSION_ID="{version}"\n')
    (tree / "etc").symlink_to("usr/etc")
    for wheel in fetched.get(version, ()):
        wheels.unpack_wheel(wheel, tree / SITE)
    if not fetched:
        _make_up(version, tree / SITE)


def _make_up(version: str, site: Path) -> None:
    """Python's own library, twice: the second time with every tenth file changed a little."""
    library = Path(json.__file__).parent.parent
    shutil.copytree(library, site, ignore=shutil.ignore_patterns(*NOT_TAKEN), symlinks=True, dirs_exist_ok=True)
    if version == "first":
        return
    for number, path in enumerate(sorted(site.rglob("*.py"))):
        if number % 10 == 0:
            path.write_bytes(path.read_bytes() + b"\n# second version\n")


if __name__ == "__main__":
    sys.exit(main())
