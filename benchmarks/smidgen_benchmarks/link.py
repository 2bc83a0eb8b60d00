"""One update over a slow link, by our client and by the stock tools: seconds, and bytes that the link carried."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from smidgen_benchmarks.link_scene import REFS, Say, Scene
from smidgen_benchmarks.measure import StepFailed, Usage, run, sha256
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_benchmarks.service import serving
from smidgen_benchmarks.shaped_link import Link, shaped

MBIT: Final = 1_000_000
RATES: Final = (10.0, 1.0)


class Method(Protocol):
    """One tool's way through the link. ours: our own client, compared with the best of the others."""

    @property
    def name(self) -> str: ...

    @property
    def ours(self) -> bool: ...

    @property
    def dynamic(self) -> bool:
        """Asks our server, else a plain web server of the scene's folder."""

    def missing(self, scene: Scene) -> str | None: ...

    def update(self, scene: Scene, link: Link, service: str) -> Usage:
        """Bring a device from the old version to the new one; check the result outside of what is measured.

        Args:
            service: URL of our server without the link, for what happens before or after.
        """


@dataclass(frozen=True, slots=True)
class Row:
    """What a method took at a rate; or why it did not run."""

    method: str
    mbit: float
    usage: Usage | None = None
    carried: int = 0
    connections: int = 0
    ours: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Smidgen:
    """`smidgen pull`, told the link's speed, as a device knows it that has pulled before.

    Such a device knows its files, too; a copied one looks through them first, which a dry run makes it do beforehand.
    """

    kind: str
    ours: bool = True
    dynamic: bool = True

    @property
    def name(self) -> str:
        return f"smidgen {self.kind}"

    def missing(self, scene: Scene) -> str | None:  # noqa: ARG002 - a method
        return None

    def update(self, scene: Scene, link: Link, service: str) -> Usage:
        device = scene.device(self.kind)
        rate = f"{link.down.bytes_per_second * 8 / MBIT:g}Mbit"
        place: list[str | Path] = ["--into", scene.store(self.kind), "--state", device / "state"]
        words = [REFS[self.kind], *place, "--link", rate, "--json"]
        output = scene.folder / f"{self.kind}.json"
        run([*SMIDGEN, "pull", service, *words, "--dry-run"], stdout=output)
        usage = run([*SMIDGEN, "pull", link.url, *words], stdout=output)
        result = json.loads(output.read_text().splitlines()[-1])
        run([*SMIDGEN, "verify", scene.store(self.kind), "--state", device / "state"])
        _expect(not result["unchanged"], "there was nothing to update", self.name)
        return usage


@dataclass(frozen=True, slots=True)
class OstreePull:
    """`ostree pull` with the static delta that ostree made."""

    name: str = "ostree static delta"
    ours: bool = False
    dynamic: bool = False

    def missing(self, scene: Scene) -> str | None:  # noqa: ARG002 - a method
        return None if shutil.which("ostree") else "ostree not on the PATH"

    def update(self, scene: Scene, link: Link, service: str) -> Usage:  # noqa: ARG002 - a method
        repo = scene.device("stock") / "repo"
        run(["ostree", "remote", "add", f"--repo={repo}", "--no-gpg-verify", "bench", f"{link.url}/static"])
        usage = run(["ostree", "pull", f"--repo={repo}", "--require-static-deltas", "bench", "new"])
        run(["ostree", "fsck", "--quiet", f"--repo={repo}"])
        return usage


@dataclass(frozen=True, slots=True)
class TarPatch:
    """curl into tar-patch, which works while it is fetched."""

    name: str = "tar-diff -19"
    ours: bool = False
    dynamic: bool = False

    def missing(self, scene: Scene) -> str | None:
        if not scene.tar_diff.exists():
            return "no delta: tar-diff was not on the PATH"
        return None if shutil.which("tar-patch") and shutil.which("curl") else "tar-patch or curl not on the PATH"

    def update(self, scene: Scene, link: Link, service: str) -> Usage:  # noqa: ARG002 - a method
        out = scene.folder / "patched.tar"
        script = 'curl --fail --silent "$0" | tar-patch /dev/stdin "$1" "$2"'
        usage = run(["sh", "-c", script, f"{link.url}/tar.diff", scene.old_tree, out])
        _expect(sha256(out) == sha256(scene.pair.new), "wrong bytes", self.name)
        out.unlink()
        return usage


@dataclass(frozen=True, slots=True)
class Skopeo:
    """`skopeo copy` into a layout that has the old image."""

    name: str = "skopeo copy"
    ours: bool = False
    dynamic: bool = True

    def missing(self, scene: Scene) -> str | None:  # noqa: ARG002 - a method
        return None if shutil.which("skopeo") else "skopeo not on the PATH"

    def update(self, scene: Scene, link: Link, service: str) -> Usage:  # noqa: ARG002 - a method
        device = scene.device("skopeo")
        source = f"docker://{urlsplit(link.url).netloc}/{REFS['oci'].removeprefix('oci/')}"
        return run(["skopeo", "copy", "--src-tls-verify=false", source, f"oci:{device}:stable"])


METHODS: Final[Sequence[Method]] = (Smidgen("ostree"), Smidgen("oci"), OstreePull(), TarPatch(), Skopeo())


def measure(
    scene: Scene, rates: Sequence[float], methods: Sequence[Method], round_trip: float, say: Say
) -> Iterator[Row]:
    """Every method at every rate (Mbit/s in each direction), one after the other."""
    with serving(scene.data, scene.folder / "server.log") as service, files_served(scene.folder) as files:
        for mbit in rates:
            for method in methods:
                say(f"{method.name} at {mbit:g} Mbit/s")
                if problem := method.missing(scene):
                    yield Row(method.name, mbit, ours=method.ours, problem=problem)
                    continue
                server = urlsplit(service.url if method.dynamic else files)
                with shaped(
                    server.hostname or "", server.port or 0, round_trip=round_trip, bits_per_second=mbit * MBIT
                ) as link:
                    usage = method.update(scene, link, service.url)
                yield Row(method.name, mbit, usage, link.down.carried, link.connections, method.ours)


def gains(rows: Sequence[Row], mbit: float) -> dict[str, float]:
    """By method of ours: how many times sooner it is done than the best of the others at that rate."""
    done = [(row, row.usage) for row in rows if row.mbit == mbit and row.usage]
    best = min((usage.seconds for row, usage in done if not row.ours), default=None)
    return {row.method: best / usage.seconds for row, usage in done if row.ours} if best else {}


def table(rows: Sequence[Row]) -> str:
    """Plain text."""
    lines = [f"{'method':22} {'Mbit/s':>7} {'seconds':>9} {'cpu s':>7} {'peak MB':>8} {'carried':>14}  times sooner"]
    for row in rows:
        if row.usage is None:
            lines.append(f"{row.method:22} {row.mbit:7g}  left out: {row.problem}")
            continue
        gain = gains(rows, row.mbit).get(row.method)
        lines.append(
            f"{row.method:22} {row.mbit:7g} {row.usage.seconds:9.1f} {row.usage.cpu_seconds:7.1f}"
            f" {row.usage.peak_bytes >> 20:8} {row.carried:14,}  {f'{gain:.2f}' if gain else ''}"
        )
    return "\n".join(lines)


class _Quiet(SimpleHTTPRequestHandler):
    """Keeps connections open and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the name that the base has


@contextmanager
def files_served(folder: Path) -> Iterator[str]:
    """A plain web server of a folder on this machine; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _expect(right: bool, reason: str, method: str) -> None:  # noqa: FBT001 - as an assertion
    if not right:
        raise StepFailed("an update came out wrong", method=method, reason=reason)
