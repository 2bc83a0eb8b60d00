"""The .xz container: where its blocks are, and writing its framing (the XZ file format specification 1.2.0).

Only what is needed to cut a file in framing and LZMA2 data, and to write the same framing again.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.unpackers.base import RecipeInvalid, blocks
from smidgen_deltas.kernels.checks import crc64
from smidgen_deltas.wire import WireReader, put_varint

MAGIC: Final = b"\xfd7zXZ\x00"
FOOTER_MAGIC: Final = b"YZ"
HEADER_SIZE: Final = 12
MAX_BLOCKS: Final = 1 << 16
MAX_SIZE: Final = (1 << 63) - 1
CHECK_SIZES: Final = {0: 0, 1: 4, 4: 8, 10: 32}  # none, CRC32, CRC64, SHA-256; others have no writer
LZMA2: Final = 0x21


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a block's chain: its id and its raw properties."""

    id: int
    properties: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Where one block lies. Offsets are in the file; `packed` excludes header, padding and check."""

    start: int
    header_size: int
    packed: int
    plain: int
    filters: tuple[Filter, ...]
    has_packed: bool
    has_plain: bool

    @property
    def data_start(self) -> int:
        return self.start + self.header_size


@dataclass(frozen=True, slots=True)
class XzStream:
    """One stream: its check type and blocks."""

    check: int
    blocks: tuple[Block, ...]


def parse_stream(data: memoryview) -> XzStream:
    """A file that is exactly one stream. Raises RecipeInvalid for anything else (several streams, stream padding)."""
    size = len(data)
    if size < 2 * HEADER_SIZE + 8 or size % 4 or bytes(data[:6]) != MAGIC or bytes(data[-2:]) != FOOTER_MAGIC:
        raise RecipeInvalid("not one xz stream")
    check = data[7] & 0x0F
    if data[6] or check not in CHECK_SIZES or bytes(data[-4:-2]) != bytes(data[6:8]):
        raise RecipeInvalid("xz stream with an unknown check")
    index_size = (int.from_bytes(data[-8:-4], "little") + 1) * 4
    index_start = size - HEADER_SIZE - index_size
    if index_start < HEADER_SIZE:
        raise RecipeInvalid("xz index is larger than its file")
    records = _parse_index(data[index_start : index_start + index_size - 4])
    at, found = HEADER_SIZE, []
    for unpadded, plain in records:
        found.append(_parse_block(data, at, unpadded, plain, check, index_start))
        at += (unpadded + 3) & ~3
    if at != index_start:
        raise RecipeInvalid("xz index does not match its blocks")
    return XzStream(check, tuple(found))


def _parse_index(index: memoryview) -> list[tuple[int, int]]:
    reader = WireReader(index, "xz index")
    reader.expect(b"\0")
    count = reader.number(min(MAX_BLOCKS, len(index)), "record count")
    records = [(reader.number(MAX_SIZE, "unpadded size"), reader.number(MAX_SIZE, "plain size")) for _ in range(count)]
    if reader.left > 3 or any(reader.take(reader.left)):
        raise RecipeInvalid("xz index has bad padding")
    return records


def _parse_block(data: memoryview, start: int, unpadded: int, plain: int, check: int, end: int) -> Block:
    header_size = (data[start] + 1) * 4
    packed = unpadded - header_size - CHECK_SIZES[check]
    if data[start] == 0 or packed <= 0 or start + unpadded > end:
        raise RecipeInvalid("xz block is out of place", offset=start)
    reader = WireReader(data[start + 1 : start + header_size - 4], "xz block header")
    flags = reader.take(1)[0]
    if flags & 0x3C:
        raise RecipeInvalid("xz block has unknown flags", offset=start)
    has_packed, has_plain = bool(flags & 0x40), bool(flags & 0x80)
    if has_packed and reader.number(MAX_SIZE, "packed size") != packed:
        raise RecipeInvalid("xz block and index disagree", offset=start)
    if has_plain and reader.number(MAX_SIZE, "plain size") != plain:
        raise RecipeInvalid("xz block and index disagree", offset=start)
    filters = tuple(parse_filter(reader) for _ in range((flags & 3) + 1))
    if filters[-1].id != LZMA2 or any(reader.take(reader.left)):
        raise RecipeInvalid("xz block has an unknown filter chain", offset=start)
    return Block(start, header_size, packed, plain, filters, has_packed, has_plain)


def parse_filter(reader: WireReader) -> Filter:
    """One filter's flags, as in a block header."""
    return Filter(reader.number(1 << 32, "filter id"), reader.block(16, "filter properties"))


def put_filter(out: bytearray, item: Filter) -> None:
    """Append one filter's flags."""
    put_varint(out, item.id)
    put_varint(out, len(item.properties))
    out += item.properties


def _crc32(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def stream_header(check: int) -> bytes:
    flags = bytes((0, check))
    return MAGIC + flags + _crc32(flags)


def block_header(filters: tuple[Filter, ...], header_size: int, *, packed: int | None, plain: int | None) -> bytes:
    """A block header of `header_size` bytes; sizes that are None are left out. RecipeInvalid if they do not fit."""
    out = bytearray((header_size // 4 - 1, len(filters) - 1 | (packed is not None) << 6 | (plain is not None) << 7))
    for size in (packed, plain):
        if size is not None:
            put_varint(out, size)
    for item in filters:
        put_filter(out, item)
    if len(out) + 4 > header_size:
        raise RecipeInvalid("xz block header is too small for its fields", size=header_size)
    out += bytes(header_size - 4 - len(out))
    return bytes(out) + _crc32(out)


def block_trailer(packed: int, check: int, plain: bytes | memoryview) -> bytes:
    """Padding to four bytes, then the check of `plain`."""
    padding = bytes(-packed % 4)
    if check == 1:
        found = 0
        for piece in blocks(plain):
            found = zlib.crc32(piece, found)
        return padding + found.to_bytes(4, "little")
    if check == 4:
        return padding + crc64(plain).to_bytes(8, "little")
    return padding + (hashlib.sha256(plain).digest() if check == 10 else b"")


def index_and_footer(records: list[tuple[int, int]], check: int) -> bytes:
    """Everything behind the last block; `records` are (unpadded size, plain size)."""
    index = bytearray(b"\0")
    put_varint(index, len(records))
    for unpadded, plain in records:
        put_varint(index, unpadded)
        put_varint(index, plain)
    index += bytes(-len(index) % 4)
    index += _crc32(index)
    tail = (len(index) // 4 - 1).to_bytes(4, "little") + bytes((0, check))
    return bytes(index) + _crc32(tail) + tail + FOOTER_MAGIC
