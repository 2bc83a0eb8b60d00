"""An xz stream that holds its bytes as they are: for what is compressed already.

LZMA2 has chunks that are not compressed; an encoder ends up with them too, after trying for seconds a megabyte.
Source: The .xz File Format 1.2.0; LZMA2 chunks as liblzma documents them (control 1: not compressed, dictionary reset;
2: not compressed; 0: end), each of at most 64 KiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from smidgen_deltas.wire import varint

CHUNK: Final = 1 << 16
_CHECK_CRC32: Final = b"\x00\x01"
_HEADER: Final = b"\xfd7zXZ\x00" + _CHECK_CRC32
_FOOTER: Final = _CHECK_CRC32 + b"YZ"
_LZMA2: Final = b"\x21\x01\x08"  # filter, one byte of properties, dictionary of 64 KiB: nothing refers back


def store_xz(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The file that `xz -d` turns back into `pieces`: 3 bytes more for each 64 KiB, and about 80."""
    yield _HEADER + struct.pack("<I", zlib.crc32(_CHECK_CRC32))
    head = b"\x02\x00" + _LZMA2 + bytes(3)  # 12 bytes with the checksum: (2 + 1) * 4
    yield head + struct.pack("<I", zlib.crc32(head))
    packed, size, check = 0, 0, 0
    for chunk in _chunks(pieces):
        yield struct.pack(">BH", 2 if size else 1, len(chunk) - 1) + chunk
        packed += 3 + len(chunk)
        size += len(chunk)
        check = zlib.crc32(chunk, check)
    packed += 1
    yield bytes(1 + -packed % 4) + struct.pack("<I", check)
    index = _index(len(head) + 4 + packed + 4, size)
    yield index
    tail = struct.pack("<I", len(index) // 4 - 1) + _FOOTER[:2]
    yield struct.pack("<I", zlib.crc32(tail)) + tail + _FOOTER[2:]


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        whole = len(held) - len(held) % CHUNK
        for at in range(0, whole, CHUNK):
            yield bytes(held[at : at + CHUNK])
        del held[:whole]
    if held:
        yield bytes(held)


def _index(unpadded: int, size: int) -> bytes:
    """The list of the one block: its size without padding, and unpacked."""
    body = b"\x00\x01" + varint(unpadded) + varint(size)
    body += bytes(-len(body) % 4)
    return body + struct.pack("<I", zlib.crc32(body))
