"""Looking into a file that is already here, as a source: only decoding, nothing is proven or re-encoded.

The streams are those that `unpackers.registry.unpack` gives for the same name and version.
"""

from __future__ import annotations

import bz2
import io
import lzma
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import Budget, Data
from smidgen_deltas.errors import FormatError, LimitExceeded

_XZ_MEMORY: Final = 512 << 20


class NotRevealed(FormatError):
    """A source cannot be taken apart as the delta says."""


def reveal(name: str, version: int, data: Data, limit: int) -> tuple[Data, ...]:
    """The inner streams of `data`.

    Args:
        limit: most bytes that all streams together may have.
    Raises NotRevealed, LimitExceeded.
    """
    if name == "xz":
        return (_decompress(lzma.LZMADecompressor(memlimit=_XZ_MEMORY), data, limit),)
    if name == "bzip2":
        return (_decompress(bz2.BZ2Decompressor(), data, limit),)
    if name.startswith("zstd"):
        return (b"".join(zstd.stream_decompress(io.BytesIO(data), limit, frames=True)),)
    found = registry.unpack(data, Budget(output=limit))
    if found is None or (found.name, found.version) != (name, version):
        raise NotRevealed("source cannot be taken apart as the delta says", transform=name)
    return found.streams


def _decompress(decoder: lzma.LZMADecompressor | bz2.BZ2Decompressor, data: Data, limit: int) -> bytes:
    try:
        out = decoder.decompress(bytes(data), limit + 1)
    except (lzma.LZMAError, OSError, EOFError) as error:
        raise NotRevealed("source is damaged", reason=str(error)) from error
    if len(out) > limit:
        raise LimitExceeded("source holds more than allowed", limit=limit)
    if not decoder.eof:
        raise NotRevealed("source ends early", produced=len(out))
    return out
