"""Every method on every pair: sizes, seconds, memory, and whether the result had the right digest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import StepFailed, Usage, sha256
from smidgen_benchmarks.peers import Peer
from smidgen_benchmarks.tree_peers import OstreeStaticDelta


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one pair. `problem` says why there are no numbers."""

    pair: str
    peer: str
    size: int = 0
    make: Usage | None = None
    apply: Usage | None = None
    verified: bool = False
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    pairs: Iterable[Pair], peers: Iterable[Peer], announce: Callable[[str], None], scratch: Path | None = None
) -> Iterator[Row]:
    """Yield a row per pair and peer; a failing peer is a row, never the end of the run."""
    peers = list(peers)
    for pair in pairs:
        for peer in peers:
            reason = peer.missing()
            if reason is None and peer.trees_only and pair.kind != "tar":
                continue
            if reason is not None:
                yield Row(pair.name, peer.name, problem=f"missing: {reason}")
                continue
            announce(f"{pair.name}: {peer.name}")
            with tempfile.TemporaryDirectory(dir=scratch, prefix="smidgen-bench-") as folder:
                yield _measure(pair, peer, Path(folder))


def _measure(pair: Pair, peer: Peer, folder: Path) -> Row:
    delta, out = folder / "delta", folder / pair.new.name
    try:
        made = peer.make(pair.old, pair.new, delta)
        applied = peer.apply(pair.old, delta, out)
        cost = peer.cost(delta)
    except StepFailed as error:
        return Row(pair.name, peer.name, problem=str(error)[:2000])
    # ostree has no file to compare: its own checksums and fsck, run by `apply`, are the proof
    verified = isinstance(peer, OstreeStaticDelta) or sha256(out) == sha256(pair.new)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return Row(pair.name, peer.name, cost, made, applied, verified)
