"""Streaming gzip (RFC 1952) as registries really hold it: several members, zero padding after the last."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from smidgen_deltas.errors import FormatError, LimitExceeded

BLOCK: Final = 1 << 18
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's way to ask for the gzip framing, checksum and length checked


class GzipInvalid(FormatError):
    """Not gzip, damaged, or cut short."""


class Reader(Protocol):
    """What `open(..., 'rb')` and sockets' files offer: at most `size` bytes, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


def stream_gunzip(source: Reader, limit: int) -> Iterator[bytes]:
    """Yield the content of all members, in blocks of at most BLOCK bytes.

    Args:
        limit: most bytes to yield.
    Raises:
        GzipInvalid: with the number of bytes produced so far.
        LimitExceeded: the content is longer than `limit`.
    """
    produced = 0
    pending = source.read(BLOCK)
    if not pending:
        raise GzipInvalid("no gzip member")
    while pending:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            pending = pending or source.read(BLOCK)
            if not pending:
                raise GzipInvalid("truncated gzip member", produced=produced)
            try:
                out = member.decompress(pending, BLOCK)
            except zlib.error as error:
                raise GzipInvalid("damaged gzip member", reason=str(error), produced=produced) from error
            pending = member.unconsumed_tail
            produced += len(out)
            if produced > limit:
                raise LimitExceeded("gzip content is longer than allowed", limit=limit)
            if out:
                yield out
        pending = _after_member(source, member.unused_data, produced)


def _after_member(source: Reader, pending: bytes, produced: int) -> bytes:
    """The start of the next member; b"" when only zero padding (gzip(1) ignores it) and the end follow."""
    pending = pending or source.read(BLOCK)
    if not pending.startswith(b"\0"):
        return pending
    while pending:
        if pending.strip(b"\0"):
            raise GzipInvalid("bytes after the gzip padding", produced=produced)
        pending = source.read(BLOCK)
    return b""
