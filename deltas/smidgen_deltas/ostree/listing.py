"""Dirtrees, `(a(say)a(sayay))`, both ways in one pass.

The generic codec needs ten calls for every name; trees have tens of thousands. This one knows the type, accepts and
writes exactly the same bytes (a property test compares the two), and refuses an entry count that the bytes cannot hold
before it makes room for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from smidgen_deltas.errors import FormatError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import NotNormal, frame_width, offset_width

CHECKSUM_SIZE: Final = 32
FILE: Final = "(say)"
DIRECTORY: Final = "(sayay)"
_OFFSETS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}

Files = tuple[tuple[str, bytes], ...]
Directories = tuple[tuple[str, bytes, bytes], ...]


class ListingInvalid(FormatError):
    """A dirtree is well-formed GVariant but not what ostree allows."""


def decode_listing(data: bytes) -> tuple[Files, Directories]:
    """Files and subdirectories. Raises NotNormal or ListingInvalid with the offset; names are not judged here."""
    width = offset_width(len(data))
    body = len(data) - width
    split = int.from_bytes(data[body:], "little") if body >= 0 else 0
    if not 0 <= split <= body or frame_width(body, 1) != width:
        raise NotNormal("dirtree's framing offset is wrong", offset=max(body, 0))
    files: Any = _entries(data, 0, split, FILE, 1)
    directories: Any = _entries(data, split, body, DIRECTORY, 2)
    return files, directories


def encode_listing(files: Iterable[tuple[str, bytes]], directories: Iterable[tuple[str, bytes, bytes]]) -> bytes:
    """The normal form."""
    first = _encode_entries(files)
    body = first + _encode_entries(directories)
    return body + len(first).to_bytes(frame_width(len(body), 1), "little")


def _entries(data: bytes, start: int, end: int, signature: str, checksums: int) -> tuple[tuple[Any, ...], ...]:
    found = []
    first = start
    for last in _ends(data, start, end, 1 + checksums * (CHECKSUM_SIZE + 1)):
        found.append(_entry(data, first, start + last, signature, checksums))
        first = start + last
    return tuple(found)


def _ends(data: bytes, start: int, end: int, smallest: int) -> tuple[int, ...]:
    """Where each element ends, relative to `start`; not yet checked but for their number."""
    size = end - start
    if not size:
        return ()
    width = offset_width(size)
    body = int.from_bytes(data[end - width : end], "little")
    count, left = divmod(size - body, width)
    if body >= size or left or frame_width(body, count) != width:
        raise NotNormal("array's framing offsets are wrong", offset=start)
    if count * smallest > body:
        raise ListingInvalid("dirtree has more entries than bytes for them", offset=start, entries=count)
    return struct.unpack_from(f"<{count}{_OFFSETS[width]}", data, start + body)


def _entry(data: bytes, first: int, last: int, signature: str, checksums: int) -> tuple[Any, ...]:
    """One `(say)` or `(sayay)`: name, NUL, checksums, then where the checksums begin, last one first."""
    size = last - first
    width = 1 if size <= 0xFF else offset_width(size)
    name = size - checksums * (CHECKSUM_SIZE + width)
    at = first + name
    if (
        name < 1
        or data.find(b"\0", first, at) != at - 1
        or data[last - checksums * width : last] != _tail(name, checksums, width)
        or (width > 1 and frame_width(size - checksums * width, checksums) != width)
    ):
        raise _refusal(data, first, last, signature)
    try:
        text = data[first : at - 1].decode()
    except UnicodeDecodeError as error:
        raise NotNormal("string is not UTF-8", offset=first + error.start) from error
    if checksums == 1:
        return text, data[at : at + CHECKSUM_SIZE]
    return text, data[at : at + CHECKSUM_SIZE], data[at + CHECKSUM_SIZE : at + 2 * CHECKSUM_SIZE]


def _tail(name: int, checksums: int, width: int) -> bytes:
    if checksums == 1:
        return name.to_bytes(width, "little")
    return (name + CHECKSUM_SIZE).to_bytes(width, "little") + name.to_bytes(width, "little")


def _refusal(data: bytes, first: int, last: int, signature: str) -> FormatError:
    """What is wrong with an entry that is not as every good one is."""
    try:
        gvariant.decode(signature, data[first : max(first, last)])
    except NotNormal as error:
        return NotNormal(f"dirtree entry: {error.message}", offset=first + int(error.detail.get("offset", 0)))
    return ListingInvalid("checksum is not 32 bytes", offset=first)


def _encode_entries(entries: Iterable[tuple[Any, ...]]) -> bytes:
    parts: list[bytes] = []
    ends: list[int] = []
    done = 0
    for entry in entries:
        part = _encode_entry(*entry)
        parts.append(part)
        done += len(part)
        ends.append(done)
    if not ends:
        return b""
    parts.append(struct.pack(f"<{len(ends)}{_OFFSETS[frame_width(done, len(ends))]}", *ends))
    return b"".join(parts)


def _encode_entry(name: str, checksum: bytes, *more: bytes) -> bytes:
    text = name.encode()
    if b"\0" in text:
        raise ValueError("a name may not hold NUL")
    begin = len(text) + 1
    body = text + b"\0" + checksum + b"".join(more)
    width = frame_width(len(body), 1 + len(more))
    if more:
        body += (begin + len(checksum)).to_bytes(width, "little")
    return body + begin.to_bytes(width, "little")
