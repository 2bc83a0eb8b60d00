"""The fields of a zip file that follow from its members: blanked when it is taken apart, written when it is rebuilt."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smidgen_deltas.engine.unpackers.base import Data, RecipeInvalid
from smidgen_deltas.engine.unpackers.zip_format import (
    CENTRAL_FIELDS,
    CENTRAL_MAGIC,
    CENTRAL_OFFSET,
    CENTRAL_SIZE,
    END_MAGIC,
    LOCAL_FIELDS,
    STORED,
    ZipFile,
    number,
)

_STREAMED = 8


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a central header says about its member."""

    offset: int
    crc: int
    packed: int
    plain: int

    def fields(self) -> bytes:
        return b"".join(value.to_bytes(4, "little") for value in (self.crc, self.packed, self.plain))


def fields_follow(data: memoryview, found: ZipFile, checks: Sequence[tuple[int, int]]) -> bool:
    """Do all fields say what the members' bytes say, and is the directory in the order of the data?"""
    last = -1
    for member, (crc, plain) in zip(found.members, checks, strict=True):
        if (crc, plain) != (member.crc, member.plain) or member.method not in (STORED, 8) or member.central <= last:
            return False
        facts = _Facts(member.header, crc, member.packed, plain).fields()
        local = bytes(data[member.header + LOCAL_FIELDS : member.header + LOCAL_FIELDS + 12])
        if local != (bytes(12) if member.streamed else facts):
            return False
        last = member.central
    return True


def blank_fields(data: memoryview, found: ZipFile) -> bytearray:
    """A copy with zeros in all fields that FieldWriter writes."""
    out = bytearray(data)
    for member in found.members:
        if not member.streamed:
            out[member.header + LOCAL_FIELDS : member.header + LOCAL_FIELDS + 12] = bytes(12)
        out[member.central + CENTRAL_FIELDS : member.central + CENTRAL_FIELDS + 12] = bytes(12)
        out[member.central + CENTRAL_OFFSET : member.central + CENTRAL_OFFSET + 4] = bytes(4)
    out[found.end + 12 : found.end + 20] = bytes(8)
    return out


class FieldWriter:
    """Writes the fields into literals, member by member, then the directory. RecipeInvalid when they have no place."""

    def __init__(self) -> None:
        self._facts: list[_Facts] = []

    def local(self, literal: bytearray, header: int, offset: int, packed: int, plain: Data) -> None:
        """The local header is the last `header` bytes of `literal`, which itself is at `offset` in the file."""
        at = len(literal) - header
        facts = _Facts(offset + at, zlib.crc32(plain), packed, len(plain))
        if max(facts.offset, facts.packed, facts.plain) > 0xFFFFFFFE:
            raise RecipeInvalid("zip recipe gives a file that needs zip64")
        self._facts.append(facts)
        if not number(memoryview(literal), at + 6, 2) & _STREAMED:
            literal[at + LOCAL_FIELDS : at + LOCAL_FIELDS + 12] = facts.fields()

    def directory(self, literal: bytearray, start: int, offset: int) -> None:
        """The central directory starts `start` bytes into `literal`, which is at `offset` in the file."""
        at = start
        for facts, at in zip(self._facts, _headers(literal, start), strict=False):
            literal[at + CENTRAL_FIELDS : at + CENTRAL_FIELDS + 12] = facts.fields()
            literal[at + CENTRAL_OFFSET : at + CENTRAL_OFFSET + 4] = facts.offset.to_bytes(4, "little")
        end = literal.rfind(END_MAGIC)
        if end < start or offset + start > 0xFFFFFFFE or end + 20 > len(literal):
            raise RecipeInvalid("zip recipe has no end record")
        size = _directory_size(literal, start, len(self._facts))
        literal[end + 12 : end + 20] = size.to_bytes(4, "little") + (offset + start).to_bytes(4, "little")


def _headers(literal: bytearray, start: int) -> Iterator[int]:
    """Offsets of central headers from `start` on."""
    view = bytes(literal)
    at = start
    while view[at : at + 4] == CENTRAL_MAGIC and at + CENTRAL_SIZE <= len(view):
        yield at
        at += CENTRAL_SIZE + sum(int.from_bytes(view[at + i : at + i + 2], "little") for i in (28, 30, 32))
    yield at


def _directory_size(literal: bytearray, start: int, count: int) -> int:
    ends = list(_headers(literal, start))
    if len(ends) != count + 1:
        raise RecipeInvalid("zip recipe has another number of central headers than members", expected=count)
    return ends[-1] - start
