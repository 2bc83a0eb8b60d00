"""A fleet behind a cache: devices of several versions update at once through nginx; what the one server had to send.

Devices are real pulls, each with a state and a store of its own, in worker processes; nginx runs the sample
configuration and begins with an empty cache. What devices fetched and what the origin was asked for is in nginx's log.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_benchmarks import device, nginx, trees
from smidgen_benchmarks.device import Outcome
from smidgen_benchmarks.measure import run
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_benchmarks.service import Service, serving

ACCEL: Final = {"ACCEL_PREFIX": "/_smidgen/", "TRUSTED_PROXIES": "127.0.0.1"}
KEPT: Final = frozenset({"HIT", "STALE", "UPDATING"})  # answered without waiting for the origin
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Bytes as on the wire, headers included; hits: requests that nginx answered from what it had."""

    devices: int
    verified: int
    ways: dict[str, int]
    seconds: float
    requests: int
    hits: int
    sent_bytes: int
    origin_requests: int
    origin_bytes: int
    repeated: int
    server_peak: int

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests

    @property
    def bytes_spared(self) -> float:
        """Share of the bytes that devices got which the origin did not send."""
        return 1 - self.origin_bytes / self.sent_bytes


def measure(
    releases: Sequence[Path], devices: int, folder: Path, say: Say, *, jobs: int = 8, effort: str = "default"
) -> Result:
    """Spread `devices` over all releases but the last, then update all of them to the last.

    Args:
        releases: folders with the trees, oldest first. folder: emptied first. jobs: devices that pull at once.
        effort: of the deltas.
    Raises NotFound without nginx, and StepFailed, TransportError and what a pull raises.
    """
    nginx.find_nginx()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data, log, olds = folder / "data", folder / "server.log", len(releases) - 1
    fleet = [folder / "devices" / f"{number:04}" for number in range(devices)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([device.__name__])
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        with serving(data, log, {"DELTAS__FROM_LAST": "0", "DELTAS__EFFORT": effort}) as service:
            sources = []
            for number, tree in enumerate(releases[:-1]):
                mine = fleet[number::olds]
                say(f"release {number + 1}: published, pulled by {len(mine)} devices")
                sources.append(_publish(service, tree, folder / "source", number + 1))
                list(pool.map(device.pull, mine, [service.url] * len(mine)))
            say(f"release {len(releases)}: published; waiting for its deltas")
            wanted = _publish(service, releases[-1], folder / "source", len(releases))
            for source in sources:
                service.order_delta(device.REF.rpartition("/")[0], f"sha256:{source}", f"sha256:{wanted}")
            service.settle()
        with (
            serving(data, log, ACCEL) as service,
            nginx.start_nginx(folder / "nginx", service.url.removeprefix("http://"), data) as front,
        ):
            say(f"{devices} devices update through nginx, {jobs} at once")
            started = time.perf_counter()
            outcomes = list(pool.map(device.pull, fleet, [front.url] * devices))
            seconds = time.perf_counter() - started
            peak = service.peak_memory()
            front.stop()
    return _account(outcomes, wanted, seconds, front.answered(), peak)


def _publish(service: Service, tree: Path, repo: Path, number: int) -> str:
    """The revision."""
    commit = trees.commit_folder(tree, repo, "stable", f"release {number}")
    server: list[str | Path] = ["--server", service.url, "--token-file", service.token_file]
    run([*SMIDGEN, "publish", f"ostree:{repo}@stable", device.REF.removeprefix("ostree/"), *server])
    return commit.hex()


def _account(
    outcomes: Sequence[Outcome], wanted: str, seconds: float, answered: Sequence[nginx.Answered], peak: int
) -> Result:
    asked = [one for one in answered if not one.at_origin]
    origin = [one for one in answered if one.at_origin]
    blobs = Counter((one.path, one.range) for one in origin if one.path.startswith("/u/blobs/"))
    return Result(
        devices=len(outcomes),
        verified=sum(one.verified and one.revision.endswith(wanted) for one in outcomes),
        ways=dict(Counter(one.way for one in outcomes)),
        seconds=seconds,
        requests=len(asked),
        hits=sum(one.cache in KEPT for one in asked),
        sent_bytes=sum(one.bytes_sent for one in asked),
        origin_requests=len(origin),
        origin_bytes=sum(one.bytes_sent for one in origin),
        repeated=sum(blobs.values()) - len(blobs),
        server_peak=peak,
    )


def table(result: Result) -> str:
    """Plain text."""
    ways = ", ".join(f"{count} by {way}" for way, count in sorted(result.ways.items()))
    return "\n".join(
        [
            f"devices         {result.devices}, {result.verified} verified; {ways}; {result.seconds:.1f} s",
            f"devices fetched {result.sent_bytes:,} bytes in {result.requests:,} requests",
            f"origin sent     {result.origin_bytes:,} bytes in {result.origin_requests:,} requests,"
            f" {result.repeated} of them for what it had sent before",
            f"cache           {100 * result.hit_rate:.1f} % of requests, {100 * result.bytes_spared:.1f} % of bytes",
            f"server peak     {result.server_peak >> 20} MB",
        ]
    )
