"""The cheapest way to each new file within what static deltas can say.

A pair is looked for by name (`engine.pairing`), and by content (`engine.similar`) where that gives none or a poor
patch, among old files and those new ones that are earlier in the same part: a client can read those while it works on
a part. Ways to a file: a bsdiff stream against one file, copies of exact runs from several files with new bytes
between them, or the bytes as they are; weighed by a quick compression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.aligned import aligned
from smidgen_deltas.engine.packed import looks_packed
from smidgen_deltas.engine.pairing import Candidate, Pairing
from smidgen_deltas.engine.similar import Similar, alike
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.ostree.static.bsdiff import make_bsdiff
from smidgen_deltas.ostree.static.commits import FileFacts, ObjectReader, content
from smidgen_deltas.ostree.static.copies import equal_runs, joined, split_sources
from smidgen_deltas.ostree.static.steps import Copied, Literal, Patched, Step

SMALLEST: Final = 64  # bytes; no way to a smaller file is cheaper than the file
WORTH_SEARCHING: Final = 4096
POOR: Final = 3  # a way that costs more than one part in this many of the file is worth a second look
TOGETHER: Final = 3
CHEAP: Final = 16  # a patch that costs less than one part in this many is taken, unless it unpacks to very much
LARGEST_CHEAP: Final = 16 << 20
LARGEST_PATCH: Final = 64 << 20  # a client holds source and result of a bsdiff stream in memory
LARGEST_JOINED: Final = 128 << 20
COPY_COST: Final = 7  # bytes of an operation, about
SOURCE_COST: Final = 36


@dataclass(frozen=True, slots=True)
class Way:
    """Steps to a file and roughly the bytes that they cost."""

    steps: tuple[Step, ...]
    cost: int


class Chooser:
    """Ways to new files from the files of one old commit; used by several threads."""

    def __init__(self, reader: ObjectReader, old: Sequence[FileFacts], kept: frozenset[bytes]) -> None:
        """kept: checksums of old files that are in the new commit too: poor sources, looked at last."""
        self._reader = reader
        self._old = [one for one in old if not one.header.is_symlink and one.size]
        self._pairing = Pairing(Candidate(number, one.path, one.size) for number, one in enumerate(self._old))
        gone = [one for one in self._old if one.checksum not in kept]
        self._findable = [one for one in gone or self._old if WORTH_SEARCHING <= one.size <= LARGEST_PATCH]
        self._similar = Similar(len(self._findable), lambda number: self._open(self._findable[number]))

    def choose(self, file: FileFacts) -> tuple[Step, ...]:
        """The steps to a regular file."""
        data = self._open(file)
        best = Way((Literal(data),) if len(data) else (), _estimate(data))
        if len(data) < SMALLEST or not self._old:
            return best.steps
        pair = self._pair(file)
        packed = looks_packed(file.path, data)
        if packed:
            return self._partly(pair, data, best).steps
        if pair:
            best = min((best, *self._ways((pair,), data)), key=lambda way: way.cost)
        if len(data) >= WORTH_SEARCHING and best.cost * POOR > len(data):
            others = tuple(one for one in self._alike(data) if one != pair)
            if others:
                best = min((best, *self._ways(others[:1], data)), key=lambda way: way.cost)
            every = ((pair,) if pair else ()) + others
            if len(every) > 1:
                best = min((best, *self._ways(every[:TOGETHER], data)), key=lambda way: way.cost)
        return best.steps

    def _partly(self, pair: FileFacts | None, data: Buffer, best: Way) -> Way:
        """What is compressed already: copies of what stayed. A patch would hide what did not from later copies."""
        old = self._open(pair) if pair else b""
        if pair is None or not alike(old, data):
            return best
        runs = joined(equal_runs(old, data, aligned(old, data)))
        return min(best, _copies(runs, (pair,), (len(old),), data), key=lambda way: way.cost)

    def _pair(self, file: FileFacts) -> FileFacts | None:
        found = self._pairing.find(file.path, file.size)
        return self._old[found.number] if found else None

    def _alike(self, data: Buffer) -> list[FileFacts]:
        numbers = self._similar.find(data, lambda _: True)
        return [self._findable[number] for number in numbers[:TOGETHER]]

    def _ways(self, sources: Sequence[FileFacts], data: Buffer) -> list[Way]:
        """Patch and copies along one alignment."""
        olds = [self._open(one) for one in sources]
        if len(olds) > 1 and sum(map(len, olds)) > LARGEST_JOINED:
            return []
        old = olds[0] if len(olds) == 1 else b"".join(olds)
        blocks = aligned(old, data)
        if not blocks:
            return []
        ways: list[Way] = []
        if len(olds) == 1 and max(len(old), len(data)) <= LARGEST_PATCH:
            stream = list(make_bsdiff(old, data, blocks))
            cost = _estimate(b"".join(stream)) + SOURCE_COST + COPY_COST
            ways.append(Way((Patched(sources[0].checksum, stream),), cost))
            if cost * CHEAP < len(data) <= LARGEST_CHEAP:
                return ways
        runs = joined(equal_runs(old, data, blocks))
        ways.append(_copies(runs, sources, [len(one) for one in olds], data))
        return ways

    def _open(self, file: FileFacts) -> Buffer:
        return content(self._reader, file.checksum)


def _copies(
    runs: Sequence[tuple[int, int, int]], sources: Sequence[FileFacts], sizes: Sequence[int], data: Buffer
) -> Way:
    steps: list[Step] = []
    view = memoryview(data)
    done = 0
    for at, number, offset, length in chain(split_sources(runs, sizes), [(len(data), 0, 0, 0)]):
        if at > done:
            steps.append(Literal(view[done:at]))
        if length:
            steps.append(Copied(sources[number].checksum, offset, length))
        done = at + length
    fresh = b"".join(step.data for step in steps if isinstance(step, Literal))
    used = {step.source for step in steps if isinstance(step, Copied)}
    return Way(tuple(steps), _estimate(fresh) + COPY_COST * len(steps) + SOURCE_COST * len(used))


def _estimate(data: Buffer) -> int:
    """Bytes that these will cost, roughly; quick rather than right."""
    return len(zstd.compress(data, 1)) if len(data) else 0
