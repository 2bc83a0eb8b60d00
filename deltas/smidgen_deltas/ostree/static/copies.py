"""Which bytes of a new file stand somewhere else just so: alignments cut down to what is exactly equal."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from mmap import mmap
from typing import Final

from smidgen_deltas.engine.aligned import Triple
from smidgen_deltas.engine.patch import index_step
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.kernels.align import align
from smidgen_deltas.kernels.patching import subtract

SHORTEST: Final = 24  # a copy of less costs more than the bytes
LONG: Final = 64  # of a repetition inside a part
STEP: Final = 8
_SAME: Final = re.compile(rb"\0{%d,}" % SHORTEST)
BLOCK: Final = 1 << 20


def equal_runs(old: Buffer | mmap, new: Buffer, blocks: Sequence[Triple]) -> Iterator[Triple]:
    """What of an alignment is equal, in runs of SHORTEST bytes and more."""
    before, after = memoryview(old), memoryview(new)
    for at, place, length in blocks:
        for start in range(0, length, BLOCK):
            size = min(BLOCK, length - start)
            difference = bytearray(size)
            subtract(after[at + start :][:size], before[place + start :][:size], difference)
            for run in _SAME.finditer(difference):
                first, last = run.span()
                yield at + start + first, place + start + first, last - first


def joined(runs: Iterator[Triple]) -> list[Triple]:
    """Runs that continue each other in both files, as one."""
    found: list[Triple] = []
    for at, place, length in runs:
        if found and found[-1][0] + found[-1][2] == at and found[-1][1] + found[-1][2] == place:
            first, start, size = found.pop()
            at, place, length = first, start, size + length
        found.append((at, place, length))
    return found


def repeats(blob: Buffer | mmap, data: Buffer) -> list[Triple]:
    """Long runs of `data` that are somewhere in `blob`. Memory: an index of half the size of `blob`, and 64 MiB."""
    step = max(STEP, index_step(len(blob)))
    numbers = iter(array("q", align(memoryview(blob).cast("B"), memoryview(data).cast("B"), 4, step)))
    blocks = list(zip(numbers, numbers, numbers, strict=True))
    return [run for run in joined(equal_runs(blob, data, blocks)) if run[2] >= LONG]


def split_sources(runs: Sequence[Triple], sizes: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Runs over several files that were put one behind the other, by file: (offset in new, file, offset, length)."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    for at, place, length in runs:
        for number, (first, last) in enumerate(pairwise(starts)):
            begin, end = max(place, first), min(place + length, last)
            if begin < end:
                yield at + begin - place, number, begin - first, end - begin
