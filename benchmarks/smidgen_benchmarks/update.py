"""The main job beside the stock tools: publish two versions of a Debian tree, pull the first, update to the second.

Both sides fetch from the same server in the same run. Requests are counted by the server.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import Usage, run
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_benchmarks.service import Service, serving
from smidgen_benchmarks.tree_peers import commit_tar

REF: Final = "bench/stable"


@dataclass(frozen=True, slots=True)
class Step:
    """One pull: who, what, how long, how many requests; `fetched` and the chosen way are known for our client only."""

    tool: str
    what: str
    usage: Usage
    requests: int
    fetched: int | None = None
    way: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All steps of one corpus, and what publishing both versions took."""

    pair: str
    publish: Usage
    server_peak: int
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(pair: Pair, folder: Path, announce: Callable[[str], None]) -> Result:
    """Run everything for one pair of tars below `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    repo = folder / "source"
    run(["ostree", "init", f"--repo={repo}", "--mode=archive"])
    images = folder / "images"
    for version, tar in (("old", pair.old), ("new", pair.new)):
        announce(f"committing {version} and making its image")
        commit_tar(repo, version, tar, REF)
        image_of_tar(tar, images, version)
    steps: list[Step] = []
    with serving(folder / "data", folder / "server.log") as service:
        published = Usage(0, 0, 0)
        for what, version in (("from empty", "old"), ("update", "new")):
            announce(f"publishing {version}")
            token: list[str | Path] = ["--server", service.url, "--token-file", service.token_file]
            published += run([*SMIDGEN, "publish", f"ostree:{repo}@{version}", f"bench/{REF}", *token])
            published += run([*SMIDGEN, "publish", f"oci:{images}:{version}", "bench:stable", *token])
            announce("waiting until the server has made what it makes in the background")
            service.settle()
            announce(f"pulling {version}: {what}")
            steps += [
                _ours(service, f"ostree/bench/{REF}", f"ostree:{folder / 'ours.repo'}", f"ostree {what}"),
                _ostree(service, folder / "stock.repo", f"ostree {what}"),
                _ours(service, "oci/bench:stable", f"oci:{folder / 'ours.oci'}:stable", f"oci {what}"),
                _skopeo(service, folder / "stock.oci", f"oci {what}"),
            ]
        peak = service.peak_memory()
    run(["ostree", "fsck", f"--repo={folder / 'ours.repo'}"])
    run(["skopeo", "copy", f"oci:{folder / 'ours.oci'}:stable", f"dir:{folder / 'checked'}"])
    return Result(pair.name, published, peak, tuple(steps))


def table(result: Result) -> str:
    """Plain text."""
    lines = [f"{'step':22} {'tool':10} {'seconds':>8} {'peak MB':>8} {'requests':>9} {'fetched':>14}  way"]
    for step in sorted(result.steps, key=lambda step: step.what):
        fetched = f"{step.fetched:14,}" if step.fetched is not None else f"{'':14}"
        lines.append(
            f"{step.what:22} {step.tool:10} {step.usage.seconds:8.1f} {step.usage.peak_bytes >> 20:8} "
            f"{step.requests:9,} {fetched}  {step.way}"
        )
    lines.append(f"publishing both as commit and image: {result.publish.seconds:.1f} s")
    lines.append(f"server peak memory: {result.server_peak >> 20} MB")
    return "\n".join(lines)


def image_of_tar(tar: Path, layout: Path, tag: str) -> None:
    """An image with the tree as its one gzip layer, as a registry would hold it."""
    archive = layout.with_name(f"{tag}.docker.tar")
    run([*SMIDGEN[:2], "smidgen_benchmarks.trees", "docker-archive", tar, archive])
    run(["skopeo", "copy", f"docker-archive:{archive}", f"oci:{layout}:{tag}"])
    archive.unlink()


def _counted(service: Service, tool: str, what: str, work: Callable[[], Usage]) -> Step:
    before = service.requests()
    usage = work()
    return Step(tool, what, usage, service.requests() - before - 1)


def _ours(service: Service, ref: str, target: str, what: str) -> Step:
    store = Path(target.split(":")[1])
    state, output = store.with_name(f"{store.name}.state"), store.with_name(f"{store.name}.json")  # empty is empty
    words: list[str | Path] = [*SMIDGEN, "pull", service.url, ref, "--into", target, "--state", state, "--json"]
    step = _counted(service, "smidgen", what, lambda: run(words, stdout=output))
    last = json.loads(output.read_text().strip().splitlines()[-1])
    plan = last["plan"]
    way = plan["considered"][plan["chosen"]]["name"].partition(" from ")[0] if plan else ""
    return Step(step.tool, what, step.usage, step.requests, int(last["bytes_fetched"]), way)


def _ostree(service: Service, repo: Path, what: str) -> Step:
    if not repo.exists():
        run(["ostree", "init", f"--repo={repo}", "--mode=bare-user"])
        remote = ["remote", "add", "--no-gpg-verify", "bench", f"{service.url}/ostree/bench"]
        run(["ostree", f"--repo={repo}", *remote])
    words = ["ostree", f"--repo={repo}", "pull", "bench", REF]
    return _counted(service, "ostree", what, lambda: run(words))


def _skopeo(service: Service, layout: Path, what: str) -> Step:
    source = f"docker://{service.url.removeprefix('http://')}/bench:stable"
    words = ["skopeo", "copy", "--src-tls-verify=false", source, f"oci:{layout}:stable"]
    return _counted(service, "skopeo", what, lambda: run(words))
