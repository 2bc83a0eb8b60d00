"""How fast, and with how much memory, deltas are applied: once to data that is not encoded again, once to all there is.

Each delta is applied several times and the run with the least CPU time counts: others are slower because of what else
the machine did.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_benchmarks.apply_once import Applied
from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import run, sha256
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_deltas.errors import DigestMismatch

RUNS: Final = 3
PROFILES: Final = {"plain": "small", "encoded again": "full"}  # what is measured -> profile of the delta


@dataclass(frozen=True, slots=True)
class Row:
    """One delta, applied with so many jobs. delta: its size in bytes."""

    pair: str
    what: str
    effort: str
    jobs: int
    delta: int
    best: Applied

    @property
    def rate(self) -> float:
        """Bytes of output per second of one core."""
        return self.best.output / self.best.cpu

    @property
    def beside_encoders(self) -> float | None:
        """What all but the encoders takes, as a part of what they take; None where none ran."""
        encoding = self.best.encoding
        return (self.best.cpu - encoding) / encoding if encoding and self.jobs == 1 else None


def measure(
    pair: Pair, efforts: tuple[str, ...], jobs: tuple[int, ...], folder: Path, announce: Callable[[str], None]
) -> Iterator[Row]:
    """Make and apply the deltas of a pair below `folder`. Raises DigestMismatch when a result is not the new side."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="apply-") as scratch:
        delta = Path(scratch) / "delta"
        for effort in efforts:
            for what, profile in PROFILES.items():
                announce(f"{pair.name}: making the delta, {what}, {effort}")
                make = (*SMIDGEN, "delta", "make", "--effort", effort, "--profile", profile)
                run((*make, pair.old, pair.new, "-o", delta))
                for count in jobs:
                    announce(f"{pair.name}: applying it with {count} jobs")
                    runs = [_apply(delta, pair, Path(scratch), count) for _ in range(RUNS)]
                    best = min(runs, key=lambda one: one.cpu)
                    yield Row(pair.name, what, effort, count, delta.stat().st_size, best)


def _apply(delta: Path, pair: Pair, scratch: Path, jobs: int) -> Applied:
    output, report = scratch / "output", scratch / "report"
    program = (sys.executable, "-m", "smidgen_benchmarks.apply_once")
    run((*program, delta, pair.old, output, str(jobs)), stdout=report)
    expected, found = sha256(pair.new), sha256(output)
    if expected != found:
        raise DigestMismatch("the delta makes another file", expected=expected, found=found)
    output.unlink()
    return Applied(**json.loads(report.read_text()))


def table(rows: list[Row]) -> str:
    """For a terminal."""
    lines = [
        f"{'corpus':24}{'data':15}{'effort':9}{'jobs':>4}{'output MB':>11}{'wall s':>8}{'CPU s':>8}{'MB/s/core':>11}"
        f"{'of it reading':>15}{'encoders s':>12}{'beside them':>13}{'MB above idle':>15}"
    ]
    for row in rows:
        best, beside = row.best, row.beside_encoders
        lines.append(
            f"{row.pair[:23]:24}{row.what:15}{row.effort:9}{row.jobs:4}{best.output / 1e6:11.1f}{best.wall:8.2f}"
            f"{best.cpu:8.2f}{row.rate / 1e6:11.0f}{best.opening:15.2f}{_shown(best.encoding, row.jobs):>12}"
            f"{'-' if beside is None else f'{100 * beside:.0f} %':>13}{(best.peak - best.idle) / 1e6:15.1f}"
        )
    return "\n".join(lines)


def _shown(encoding: float, jobs: int) -> str:
    return f"{encoding:.2f}" if jobs == 1 else "-"
