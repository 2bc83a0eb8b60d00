"""`.filez`: a file object as archive repositories hold and serve it.

Layout: u32 big-endian header length, 4 zero bytes, variant `(tuuuusa(ayay))`, then for regular files a raw deflate
stream. The deflate bytes are not part of the object's identity; only header and content are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.ostree.header import decode_tail, encode_tail
from smidgen_deltas.ostree.objects import MAX_HEADER, FileHeader, ObjectInvalid

HEADER: Final = "(tuuuusa(ayay))"
BLOCK: Final = 256 << 10
DEFAULT_LEVEL: Final = 6
_PREFIX: Final = struct.Struct(">I4s")
_NUMBERS: Final = struct.Struct(">Q4I")


class FilezCorrupt(FormatError):
    """The deflate stream is damaged, cut short, too long, or followed by other bytes."""


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Filez:
    """An opened `.filez`.

    Args:
        size: bytes of content, as declared; `chunks` yields exactly that or raises FilezCorrupt.
    """

    header: FileHeader
    size: int
    chunks: Iterator[bytes]


def encode_filez_header(header: FileHeader, size: int) -> bytes:
    """Everything before the deflate stream."""
    numbers = _NUMBERS.pack(size, header.uid, header.gid, header.mode, 0)
    body = encode_tail(numbers, header.target, header.xattrs)
    return _PREFIX.pack(len(body), bytes(4)) + body


def read_filez_header(reader: Reader) -> tuple[FileHeader, int]:
    """Read up to where the deflate stream begins; returns header and declared size. Raises ObjectInvalid."""
    length, zeros = _PREFIX.unpack(_exactly(reader, _PREFIX.size))
    if not 0 < length <= MAX_HEADER:
        raise LimitExceeded("file header has no size or is too large", size=length, limit=MAX_HEADER)
    if zeros != bytes(4):
        raise ObjectInvalid("padding behind the header length is not zero")
    body = _exactly(reader, length)
    target, xattrs = decode_tail(body, _NUMBERS.size)
    size, uid, gid, mode, rdev = _NUMBERS.unpack_from(body)
    header = FileHeader.checked(uid, gid, mode, rdev, target, xattrs)
    if header.is_symlink and size:
        raise ObjectInvalid("symlink with a size", size=size)
    return header, size


def open_filez(reader: Reader) -> Filez:
    """Parse the header; content is decoded while `chunks` is iterated."""
    header, size = read_filez_header(reader)
    return Filez(header, size, iter(()) if header.is_symlink else inflate(reader, size))


def write_filez(header: FileHeader, size: int, chunks: Iterable[bytes], level: int = DEFAULT_LEVEL) -> Iterator[bytes]:
    """The whole `.filez` of a file whose content is `chunks`, `size` bytes."""
    yield encode_filez_header(header, size)
    if not header.is_symlink:
        yield from deflate(chunks, level)


def deflate(chunks: Iterable[bytes], level: int = DEFAULT_LEVEL) -> Iterator[bytes]:
    """A raw deflate stream, as stock ostree writes it."""
    coder = zlib.compressobj(level, zlib.DEFLATED, -15, 8)
    for chunk in chunks:
        out = coder.compress(chunk)
        if out:
            yield out
    yield coder.flush()


def inflate(reader: Reader, size: int) -> Iterator[bytes]:
    """Decode a raw deflate stream that must give exactly `size` bytes and end with the input.

    Raises FilezCorrupt; never yields more than `size` bytes, in blocks of at most BLOCK.
    """
    decoder = zlib.decompressobj(-15)
    done = 0
    pending, full = b"", False
    while not decoder.eof:
        # a full block may mean that the decoder holds back output although it took all input
        data = pending if pending or full else reader.read(BLOCK)
        if not data and not full:
            raise FilezCorrupt("deflate stream is cut short", produced=done, expected=size)
        try:
            out = decoder.decompress(data, BLOCK)
        except zlib.error as error:
            raise FilezCorrupt("deflate stream is damaged", produced=done, reason=str(error)) from error
        pending, full = decoder.unconsumed_tail, len(out) == BLOCK
        done += len(out)
        if done > size:
            raise FilezCorrupt("content is longer than declared", expected=size)
        if out:
            yield out
    if done != size or decoder.unused_data or reader.read(1):
        raise FilezCorrupt("content ends early or is followed by other bytes", produced=done, expected=size)


def _exactly(reader: Reader, size: int) -> bytes:
    parts = []
    left = size
    while left:
        part = reader.read(left)
        if not part:
            raise FilezCorrupt("file ends inside its header", missing=left)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
