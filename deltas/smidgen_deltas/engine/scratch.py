"""Bytes that are needed for a while: small ones in memory, large ones in a file without a name, mapped."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import SizeMismatch

HELD: Final = 4 << 20  # bytes; more goes to disk


def gather(pieces: Iterable[Buffer], size: int) -> Buffer:
    """All of `pieces`, which must be `size` bytes together. Raises SizeMismatch, never holding more than that."""
    found = collect(_at_most(pieces, size))
    if len(found) != size:
        raise SizeMismatch("inner stream has the wrong size", expected=size, found=len(found))
    return found


def collect(pieces: Iterable[Buffer]) -> Buffer:
    """All of `pieces`, whose sizes the caller bounds."""
    held, rest = bytearray(), iter(pieces)
    for piece in rest:
        held += piece
        if len(held) > HELD:
            return _spooled(chain((held,), rest))
    return bytes(held)


def spool(data: Buffer) -> Buffer:
    """The same bytes; large ones not in memory any more. Views of what is not in memory stay as they are."""
    held = data.obj if isinstance(data, memoryview) else data
    return _spooled((data,)) if len(data) > HELD and isinstance(held, bytes | bytearray) else data


def _at_most(pieces: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    """Nothing after the piece that goes beyond `size`."""
    done = 0
    for piece in pieces:
        done += len(piece)
        yield piece
        if done > size:
            return


def _spooled(pieces: Iterable[Buffer | bytearray]) -> Buffer:
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
