"""Files that are too large to be coded at once: compared as a whole, coded in parts, each with an operation of its own.

Memory: the index of `kernels.align` with its step chosen so that it holds at most POSITIONS places, and one part.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final

from smidgen_deltas.engine.frames import Coded
from smidgen_deltas.engine.patch import index_step, plain_patch
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.kernels.align import align
from smidgen_deltas.native.delta_ops import Part, Patched, Ref, Whole

LARGE: Final = 256 << 20
PART: Final = 8 << 20
DEPTH: Final = 8


def code_large(data: Buffer, old: tuple[Buffer, Ref] | None, estimate: Callable[[Buffer], int]) -> Iterator[Coded]:
    """The parts of `data`, in order. old: what to compare it with."""
    view = memoryview(data).cast("B")
    blocks = array("q")
    if old:
        blocks.frombytes(align(memoryview(old[0]).cast("B"), view, DEPTH, index_step(len(old[0]))))
    cursor = 0
    for start in range(0, len(view), PART):
        part = view[start : start + PART]
        mine, cursor = _cut(blocks, cursor, start, start + len(part))
        whole = estimate(part)
        if old and mine:
            coded = _patched(old, part, mine, estimate)
            if coded.weight < whole:
                yield coded
                continue
        yield Coded(Part(len(part), Whole()), literal=part, weight=whole)


def _patched(old: tuple[Buffer, Ref], part: memoryview, blocks: array[int], estimate: Callable[[Buffer], int]) -> Coded:
    patch = plain_patch(old[0], part, blocks)
    weight = estimate(patch.control) + estimate(patch.diff) + estimate(patch.extra)
    op = Patched((old[1],), patch.transform, len(patch.control), len(patch.diff), len(patch.extra))
    return Coded(Part(len(part), op), patch.control, patch.diff, patch.extra, b"", weight)


def _cut(blocks: array[int], cursor: int, start: int, end: int) -> tuple[array[int], int]:
    """What of the blocks from number `cursor` on lies in [start, end), relative to start; where to go on."""
    found = array("q")
    while 3 * cursor < len(blocks):
        at, old_at, length = blocks[3 * cursor : 3 * cursor + 3]
        first, last = max(at, start), min(at + length, end)
        if first < last:
            found.extend((first - start, old_at + first - at, last - first))
        if at + length > end:
            break
        cursor += 1
    return found, cursor
