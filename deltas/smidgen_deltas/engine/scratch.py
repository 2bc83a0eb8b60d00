"""Bytes that are needed for a while: small ones in memory, large ones in a file without a name, mapped."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import SizeMismatch

HELD: Final = 4 << 20  # bytes; more goes to disk


def gather(pieces: Iterable[Buffer], size: int) -> Buffer:
    """All of `pieces`, which must be `size` bytes together. Raises SizeMismatch, never holding more than that."""
    if size > HELD:
        return _spooled(pieces, size)
    out = bytearray()
    for piece in pieces:
        out += piece
        if len(out) > size:
            break
    if len(out) != size:
        raise SizeMismatch("inner stream has the wrong size", expected=size, found=len(out))
    return bytes(out)


def spool(data: Buffer) -> Buffer:
    """The same bytes; large ones not in memory any more. Views of what is not in memory stay as they are."""
    held = data.obj if isinstance(data, memoryview) else data
    return _spooled((data,), len(data)) if len(data) > HELD and isinstance(held, bytes | bytearray) else data


def _spooled(pieces: Iterable[Buffer], size: int) -> Buffer:
    done = 0
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            done += len(piece)
            if done > size:
                break
            file.write(piece)
        if done != size:
            raise SizeMismatch("inner stream has the wrong size", expected=size, found=done)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
