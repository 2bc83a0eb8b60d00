"""Where the parts of a zip file lie (APPNOTE 6.3.10), and the fields that follow from its members' bytes.

Only what taking apart needs: local headers in front of their data, one central directory behind all of it. Files with
gaps, prefixes and odd orders are fine; overlaps and encryption are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.unpackers.base import RecipeInvalid

LOCAL_MAGIC: Final = b"PK\x03\x04"
CENTRAL_MAGIC: Final = b"PK\x01\x02"
END_MAGIC: Final = b"PK\x05\x06"
LOCAL_SIZE: Final = 30
CENTRAL_SIZE: Final = 46
END_SIZE: Final = 22
MAX_COMMENT: Final = 0xFFFF
STORED: Final = 0
DEFLATED: Final = 8
_ENCRYPTED: Final = 1
_STREAMED: Final = 8  # sizes stand behind the data, not in the local header
_HUGE: Final = 0xFFFFFFFF

# Offsets of the fields that are written anew: CRC, packed size, plain size; and in the central header the local's.
LOCAL_FIELDS: Final = 14
CENTRAL_FIELDS: Final = 16
CENTRAL_OFFSET: Final = 42


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member. `header` is its local header's offset, `central` its central header's."""

    header: int
    start: int
    packed: int
    plain: int
    crc: int
    method: int
    streamed: bool
    central: int


@dataclass(frozen=True, slots=True)
class ZipFile:
    """Members in order of their data; where the central directory and the end record are."""

    members: tuple[ZipMember, ...]
    directory: int
    end: int


def number(data: memoryview, at: int, size: int) -> int:
    """A little-endian number."""
    return int.from_bytes(data[at : at + size], "little")


def parse(data: memoryview) -> ZipFile:
    """Raise RecipeInvalid for what is not a plain zip file. Zip64 is not taken."""
    end = _find_end(data)
    count, size, directory = number(data, end + 10, 2), number(data, end + 12, 4), number(data, end + 16, 4)
    if count != number(data, end + 8, 2) or directory + size > end or count == 0xFFFF:
        raise RecipeInvalid("zip file with an unusual end record")
    members, at = [], directory
    for _ in range(count):
        if at + CENTRAL_SIZE > end or bytes(data[at : at + 4]) != CENTRAL_MAGIC:
            raise RecipeInvalid("not a central header of a zip file", offset=at)
        members.append(_member(data, at, directory))
        at += CENTRAL_SIZE + number(data, at + 28, 2) + number(data, at + 30, 2) + number(data, at + 32, 2)
    if at != directory + size:
        raise RecipeInvalid("zip file's directory has another length than declared")
    members.sort(key=lambda member: member.start)
    covered = 0
    for member in members:
        if member.header < covered:
            raise RecipeInvalid("zip members overlap", offset=member.header)
        covered = member.start + member.packed
    if covered > directory:
        raise RecipeInvalid("zip member reaches into the directory")
    return ZipFile(tuple(members), directory, end)


def _find_end(data: memoryview) -> int:
    tail = bytes(data[max(0, len(data) - END_SIZE - MAX_COMMENT) :])
    at = tail.rfind(END_MAGIC, 0, len(tail) - END_SIZE + len(END_MAGIC))
    if at < 0:
        raise RecipeInvalid("zip file without an end record")
    return len(data) - len(tail) + at


def _member(data: memoryview, central: int, directory: int) -> ZipMember:
    flags, method = number(data, central + 8, 2), number(data, central + 10, 2)
    packed, plain = number(data, central + 20, 4), number(data, central + 24, 4)
    header = number(data, central + CENTRAL_OFFSET, 4)
    if flags & _ENCRYPTED or _HUGE in (packed, plain, header):
        raise RecipeInvalid("zip member is encrypted or needs zip64", offset=central)
    if header + LOCAL_SIZE > directory or bytes(data[header : header + 4]) != LOCAL_MAGIC:
        raise RecipeInvalid("zip member without a local header", offset=header)
    start = header + LOCAL_SIZE + number(data, header + 26, 2) + number(data, header + 28, 2)
    if start + packed > directory:
        raise RecipeInvalid("zip member is longer than its file", offset=header)
    crc = number(data, central + CENTRAL_FIELDS, 4)
    return ZipMember(header, start, packed, plain, crc, method, bool(flags & _STREAMED), central)
