"""Files with holes: old GNU headers, and GNU's pax formats 0.0, 0.1 and 1.0 (GNU tar manual, "Sparse Formats").

Rules enforced here: segments are in order, do not overlap, end within the file's size, and together are exactly as long
as what the archive stores. A map that other readers would apply in another way is refused, never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit, TarUnsupported
from smidgen_deltas.tar.header import BLOCK, Dialect, Header, number
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.member import Member, MemberType, Segment

Map = tuple[Segment, ...]
OLD_ENTRIES: Final = slice(386, 386 + 4 * 24)
OLD_EXTENDED: Final = 482
OLD_REALSIZE: Final = slice(483, 495)
EXTENSION_ENTRIES: Final = slice(0, 21 * 24)
EXTENSION_EXTENDED: Final = 504
_DECIMAL: Final = re.compile(rb"[0-9]{1,19}")
_ZEROS: Final = bytes(1 << 16)


class OldMap:
    """Old GNU format: four entries in the header, 21 in each block that follows while the last one says so."""

    def __init__(self, header: Header, limits: Limits) -> None:
        if header.dialect is not Dialect.GNU:
            raise TarAmbiguous("sparse member of an unknown dialect", offset=header.offset)
        self._limits = limits
        self._offset = header.offset
        self.size = number(header.block[OLD_REALSIZE], "realsize", header.offset)
        if self.size > limits.size:
            raise TarLimit("sparse file is too large", offset=header.offset, size=self.size, limit=limits.size)
        self.segments: list[Segment] = []
        self.wants_more = False
        self._add(header.block[OLD_ENTRIES], header.block[OLD_EXTENDED])

    def feed(self, block: bytes) -> None:
        """Take an extension block."""
        self._add(block[EXTENSION_ENTRIES], block[EXTENSION_EXTENDED])

    def _add(self, fields: bytes, extended: int) -> None:
        for at in range(0, len(fields), 24):
            if not fields[at]:
                break
            start = number(fields[at : at + 12], "sparse offset", self._offset)
            length = number(fields[at + 12 : at + 24], "sparse length", self._offset)
            self.segments.append(Segment(start, length))
        if len(self.segments) > self._limits.segments:
            raise TarLimit("sparse file has too many segments", offset=self._offset, limit=self._limits.segments)
        self.wants_more = bool(extended)
        if extended and not self.segments:
            raise TarCorrupt("sparse map without entries goes on", offset=self._offset)


@dataclass(frozen=True, slots=True)
class PaxForm:
    """What the GNU.sparse records say: the real name and size, and the map unless it is in the body."""

    path: bytes
    size: int
    in_body: bool
    segments: Map

    @classmethod
    def of(cls, member: Member, limits: Limits) -> PaxForm:
        fields, offset = dict(member.records), member.offset
        if member.type is not MemberType.FILE:
            raise TarAmbiguous("sparse member that is no file", offset=offset, type=member.type)
        sizes = {fields[key] for key in (b"GNU.sparse.size", b"GNU.sparse.realsize") if key in fields}
        if len(sizes) != 1:
            raise TarCorrupt("sparse member without one real size", offset=offset)
        version = (fields.get(b"GNU.sparse.major", b"0"), fields.get(b"GNU.sparse.minor", b"0"))
        if version not in ((b"0", b"0"), (b"0", b"1"), (b"1", b"0")):
            raise TarUnsupported("sparse member of an unknown version", offset=offset)
        in_body = version[0] == b"1"
        if in_body and any(key in fields for key in (b"GNU.sparse.map", b"GNU.sparse.offset", b"GNU.sparse.numblocks")):
            raise TarAmbiguous("sparse member with two maps", offset=offset)
        return cls(
            path=fields.get(b"GNU.sparse.name", member.path),
            size=_decimal(sizes.pop(), limits, offset),
            in_body=in_body,
            segments=() if in_body else from_records(member.records, limits, offset),
        )


def from_records(records: Iterable[tuple[bytes, bytes]], limits: Limits, offset: int) -> Map:
    """The map of formats 0.0 (repeated records) and 0.1 (`GNU.sparse.map`)."""
    starts, lengths, listed, declared = [], [], None, None
    for key, value in records:
        if key == b"GNU.sparse.offset":
            starts.append(value)
        elif key == b"GNU.sparse.numbytes":
            lengths.append(value)
        elif key == b"GNU.sparse.map":
            listed = value
        elif key == b"GNU.sparse.numblocks":
            declared = _decimal(value, limits, offset)
    if listed is not None and not starts and not lengths:
        values = listed.split(b",") if listed else []
        starts, lengths = values[0::2], values[1::2]
    elif listed is not None:
        raise TarCorrupt("sparse member with two maps", offset=offset)
    if len(starts) != len(lengths) or (declared is not None and declared != len(starts)):
        raise TarCorrupt("sparse map is incomplete", offset=offset)
    return _pairs(starts, lengths, limits, offset)


class MapReader:
    """The map at the start of a body in format 1.0: decimal lines, padded with NUL to whole blocks."""

    def __init__(self, limits: Limits, offset: int) -> None:
        self._limits = limits
        self._offset = offset
        self._text = b""
        self._numbers: list[bytes] = []
        self._wanted = 1
        self._blocks = 0

    def feed(self, block: bytes) -> Map | None:
        """Take the next block; the map once it is complete."""
        self._blocks += 1
        if self._blocks * BLOCK > self._limits.extension:
            raise TarLimit("sparse map is too large", offset=self._offset, limit=self._limits.extension)
        *lines, self._text = (self._text + block).split(b"\n")
        for line in lines:
            if len(self._numbers) == self._wanted:
                raise TarCorrupt("bytes after the sparse map", offset=self._offset)
            self._numbers.append(line)
            if len(self._numbers) == 1:
                self._wanted = 1 + 2 * _decimal(line, self._limits, self._offset, self._limits.segments)
        if len(self._numbers) < self._wanted:
            if len(self._text) > 19:
                raise TarCorrupt("malformed sparse map", offset=self._offset)
            return None
        if self._text.strip(b"\0"):
            raise TarCorrupt("bytes after the sparse map", offset=self._offset)
        return _pairs(self._numbers[1::2], self._numbers[2::2], self._limits, self._offset)


def _pairs(starts: list[bytes], lengths: list[bytes], limits: Limits, offset: int) -> Map:
    if len(starts) > limits.segments:
        raise TarLimit("sparse file has too many segments", offset=offset, limit=limits.segments)
    return tuple(
        Segment(_decimal(start, limits, offset), _decimal(length, limits, offset))
        for start, length in zip(starts, lengths, strict=True)
    )


def _decimal(text: bytes, limits: Limits, offset: int, limit: int | None = None) -> int:
    if not _DECIMAL.fullmatch(text):
        raise TarCorrupt("malformed sparse map", offset=offset)
    value = int(text)
    bound = limits.size if limit is None else limit
    if value > bound:
        raise TarLimit("sparse map is over its limit", offset=offset, value=value, limit=bound)
    return value


def checked(segments: Iterable[Segment], size: int, stored: int, offset: int) -> Map:
    """The map, if it fits a file of `size` bytes of which `stored` are in the archive. Empty segments are dropped."""
    kept, end, total = [], 0, 0
    for segment in segments:
        if segment.offset < end or segment.offset + segment.length > size:
            raise TarCorrupt("sparse segments overlap or leave the file", offset=offset, at=segment.offset, size=size)
        end = segment.offset + segment.length
        total += segment.length
        if segment.length:
            kept.append(segment)
    if total != stored:
        raise TarCorrupt("sparse map does not fit what is stored", offset=offset, mapped=total, stored=stored)
    return tuple(kept)


def expand(segments: Map, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The whole file: stored `chunks` with zeros between, `size` bytes in blocks of at most 64 KiB or as they came.

    The caller bounds `size`: a tiny archive may describe an enormous hole.
    """
    blocks = iter(chunks)
    pending = memoryview(b"")
    at = 0
    for segment in segments:
        yield from _hole(segment.offset - at)
        at = segment.offset
        end = at + segment.length
        while at < end:
            if not pending:
                pending = memoryview(next(blocks, b""))
                if not pending:
                    raise TarCorrupt("sparse file ends early", at=at)
            part, pending = pending[: end - at], pending[end - at :]
            yield bytes(part)
            at += len(part)
    yield from _hole(size - at)


def _hole(length: int) -> Iterator[bytes]:
    while length:
        step = min(length, len(_ZEROS))
        yield _ZEROS[:step]
        length -= step
