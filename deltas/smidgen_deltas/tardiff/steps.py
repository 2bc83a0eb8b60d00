"""How one new file is put together of old ones, and the operations that say so.

Along an alignment most bytes are equal. They are either copied or added with zeros: a run of zeros costs the
compressor a byte or two, an operation four or more, so only long runs are copied; that keeps the stream short, too,
and what is far back within the compressor's window.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.kernels.patching import subtract
from smidgen_deltas.tardiff.operations import Add, Copy, Data, Open, Operation, Seek

SHORT: Final = 24  # bytes; a copy of less costs as much as the bytes
LONG: Final = 2048
LARGEST: Final = 4 << 20  # bytes that one operation carries, as stock generators do


@dataclass(frozen=True, slots=True)
class Fresh:
    """Bytes as they are."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class Copied:
    """[offset, +size] of an old file."""

    path: bytes
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Added:
    """As many bytes of an old file from `offset` on, each plus one of these."""

    path: bytes
    offset: int
    difference: bytes


Step = Fresh | Copied | Added


@dataclass(frozen=True, slots=True)
class Block:
    """[at, +length] of the new file resembles [offset, +length] of old file number `source`."""

    at: int
    source: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Source:
    """An old file. path: by which it is opened."""

    path: bytes
    data: Buffer


def along(blocks: Sequence[Block], sources: Sequence[Source], new: Buffer, *, exact: bool) -> Iterator[Step]:
    """Steps to `new` along an alignment.

    Args:
        blocks: ascending in new, not overlapping there.
        exact: only copy and write; else bytes that differ within a block are added.
    """
    view = memoryview(new)
    done = 0
    for block in blocks:
        for step, at in _inside(block, sources[block.source], view, exact=exact):
            if at > done:
                yield Fresh(view[done:at])
            yield step
            done = at + (step.size if isinstance(step, Copied) else len(step.difference))
    if done < len(view):
        yield Fresh(view[done:])


def _inside(block: Block, source: Source, view: memoryview, *, exact: bool) -> Iterator[tuple[Copied | Added, int]]:
    """What a block gives, each with its place in the new file."""
    old = memoryview(source.data)
    for start in range(0, block.length, LARGEST):
        length = min(LARGEST, block.length - start)
        at, offset = block.at + start, block.offset + start
        difference = bytearray(length)
        subtract(view[at : at + length], old[offset : offset + length], difference)
        done = 0
        for run in _ZEROS[exact].finditer(difference):
            first, last = run.span()
            if first > done and not exact:
                yield Added(source.path, offset + done, bytes(difference[done:first])), at + done
            yield Copied(source.path, offset + first, last - first), at + first
            done = last
        if done < length and not exact:
            yield Added(source.path, offset + done, bytes(difference[done:])), at + done


_ZEROS: Final = {exact: re.compile(rb"\0{%d,}" % least) for exact, least in ((True, SHORT), (False, LONG))}


class Writer:
    """Turns steps into operations, one stream for the whole tar: what is opened stays open, bytes are gathered."""

    def __init__(self) -> None:
        self._path = b""
        self._at = 0
        self._pending = bytearray()

    def operations(self, steps: Iterable[Step]) -> Iterator[Operation]:
        """What the steps come to; bytes at their end may be held back until `flush`."""
        for step in steps:
            if isinstance(step, Fresh):
                for start in range(0, len(step.data), LARGEST):
                    self._pending += step.data[start : start + LARGEST]
                    if len(self._pending) >= LARGEST:
                        yield from self.flush()
                continue
            yield from self.flush()
            yield from self._go(step.path, step.offset)
            if isinstance(step, Copied):
                self._at += step.size
                yield Copy(step.size)
            else:
                self._at += len(step.difference)
                yield Add(step.difference)

    def flush(self) -> Iterator[Operation]:
        """The bytes that were held back."""
        if self._pending:
            yield Data(bytes(self._pending))
            self._pending = bytearray()

    def _go(self, path: bytes, offset: int) -> Iterator[Operation]:
        if path != self._path:
            yield Open(path)
            self._path, self._at = path, 0
        if offset != self._at:
            yield Seek(offset)
            self._at = offset
