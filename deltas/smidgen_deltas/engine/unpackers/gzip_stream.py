"""gzip files of one or several members, taken apart and written again as streams (RFC 1952).

Recipe (version 1): number of members, per member: header bytes (length first), trailer kind (0: CRC and size are right,
1: eight bytes follow), plain length (left out for the last), number of its deflate recipe; number of different deflate
recipes, these (length first); then, to the end, what follows the last member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.unpackers.base import MAX_OUTPUT, Allowance, BudgetSpent, Data, RecipeInvalid, blocks
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer, DeflateRecipe, rebuild
from smidgen_deltas.wire import WireReader, put_bytes, put_varint

MAGIC: Final = b"\x1f\x8b\x08"
TRAILER_SIZE: Final = 8
MAX_HEADER: Final = 1 << 16
MAX_MEMBERS: Final = 1 << 18
MAX_TAIL: Final = 1 << 20
_TEXT, _HCRC, _EXTRA, _NAME, _COMMENT = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member beside its plain bytes. `trailer` is None when it is the right one."""

    header: bytes
    trailer: bytes | None
    plain: int
    deflate: DeflateRecipe


@dataclass(frozen=True, slots=True)
class GzipRecipe:
    """A whole file beside its plain bytes. The last member's `plain` is not kept: it takes the rest."""

    members: tuple[Member, ...]
    tail: bytes

    def encode(self) -> bytes:
        kinds = list(dict.fromkeys(member.deflate for member in self.members))
        number = {kind: i for i, kind in enumerate(kinds)}
        out = bytearray()
        put_varint(out, len(self.members))
        for member in self.members:
            put_bytes(out, member.header)
            put_varint(out, member.trailer is not None)
            out += member.trailer or b""
            if member is not self.members[-1]:
                put_varint(out, member.plain)
            put_varint(out, number[member.deflate])
        put_varint(out, len(kinds))
        for kind in kinds:
            put_bytes(out, kind.encode())
        return bytes(out) + self.tail

    @classmethod
    def decode(cls, recipe: bytes) -> GzipRecipe:
        """Raise a FormatError unless every field is in range."""
        reader = WireReader(recipe, "gzip recipe")
        count = reader.number(min(MAX_MEMBERS, len(recipe)), "member count")
        parts = []
        for left in range(count - 1, -1, -1):
            header = reader.block(MAX_HEADER, "header")
            trailer = reader.take(TRAILER_SIZE) if reader.number(1, "trailer kind") else None
            plain = reader.number(MAX_OUTPUT, "plain length") if left else 0
            parts.append((header, trailer, plain, reader.number(count, "deflate recipe")))
        kinds = [
            DeflateRecipe.decode(reader.block(len(recipe), "deflate recipe"))
            for _ in range(reader.number(count, "deflate recipe count"))
        ]
        if not parts or any(part[3] >= len(kinds) for part in parts):
            raise RecipeInvalid("gzip recipe lacks a deflate recipe")
        members = tuple(Member(header, trailer, plain, kinds[kind]) for header, trailer, plain, kind in parts)
        return cls(members, reader.take(reader.left))


class GzipAnalyzer:
    """Takes a gzip file apart: feed() compressed bytes and get plain ones; recipe() after close().

    Bounded memory however long the file is. RecipeInvalid for what is not gzip or cannot be rebuilt.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._members: list[Member] = []
        self._pending = bytearray()
        self._header = b""
        self._deflate: DeflateAnalyzer | None = None
        self._model: int | None = None
        self._crc = 0
        self._trailing = False
        self._closed = False
        self.plain_size = 0

    def feed(self, data: Data) -> bytes:
        """More compressed bytes; the plain bytes that became known."""
        self._pending += data
        out: list[bytes] = []
        while self._step(out):
            pass
        return b"".join(out)

    def close(self) -> bytes:
        """No more compressed bytes. RecipeInvalid when the file is not complete."""
        self._closed = True
        out = [self.feed(b"")]
        while self._deflate and not self._deflate.done:
            out.append(self._took(self._deflate.close()))
            self._pending[:0] = self._deflate.unused()
            out.append(self.feed(b""))
        if not self._members or self._deflate:
            raise RecipeInvalid("gzip file ends early")
        return b"".join(out)

    def recipe(self) -> GzipRecipe:
        """After close()."""
        return GzipRecipe(tuple(self._members), bytes(self._pending))

    def _step(self, out: list[bytes]) -> bool:
        """Do the next thing that the pending bytes allow; False when there is none."""
        if self._trailing:
            if len(self._pending) > MAX_TAIL:
                raise RecipeInvalid("too much behind the gzip members")
            return False
        if self._deflate is None:
            return self._start_member()
        if not self._deflate.done:
            if not self._pending:
                return False
            data = bytes(self._pending)
            self._pending.clear()
            out.append(self._took(self._deflate.feed(data)))
            if self._deflate.done:
                self._pending += self._deflate.unused()
            return self._deflate.done
        return self._end_member()

    def _took(self, plain: bytes) -> bytes:
        self._crc = zlib.crc32(plain, self._crc)
        self.plain_size += len(plain)
        self._allowance.check(self.plain_size)
        return plain

    def _start_member(self) -> bool:
        size = header_size(self._pending)
        if size is None:
            if len(self._pending) > MAX_HEADER:
                raise RecipeInvalid("gzip header is too long")
            if self._closed and self._members:
                self._trailing = True
                return True
            return False
        if size == 0 and not self._members:
            raise RecipeInvalid("not a gzip header")
        if size == 0:
            self._trailing = True
            return True
        if len(self._members) == MAX_MEMBERS:
            raise BudgetSpent("gzip file has too many members", limit=MAX_MEMBERS)
        self._header = bytes(self._pending[:size])
        del self._pending[:size]
        self._deflate = DeflateAnalyzer(self._allowance, self._model)
        self._crc = 0
        return True

    def _end_member(self) -> bool:
        if self._deflate is None or len(self._pending) < TRAILER_SIZE:
            return False
        trailer = bytes(self._pending[:TRAILER_SIZE])
        del self._pending[:TRAILER_SIZE]
        size = self._deflate.plain_size
        right = trailer == make_trailer(self._crc, size)
        self._members.append(Member(self._header, None if right else trailer, size, self._deflate.recipe()))
        self._model = self._deflate.model
        self._deflate = None
        return True


def header_size(data: Data | bytearray) -> int | None:
    """Bytes of the gzip header at the front; 0 when it is none, None when more bytes are needed to tell."""
    if bytes(data[:3]) != MAGIC[: len(data)]:
        return 0
    if len(data) < 10:
        return None
    flags, at = data[3], 10
    if flags & 0xE0:
        return 0
    if flags & _EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = bytes(data[: MAX_HEADER + 1]).find(b"\0", at)
            if end < 0:
                return None
            at = end + 1
    at += 2 if flags & _HCRC else 0
    return at if at <= len(data) else None


def make_trailer(crc: int, size: int) -> bytes:
    """CRC32 and length modulo 2**32 (RFC 1952 2.3.1)."""
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


class _Portions:
    """Hands out an iterator's bytes in portions of given sizes, counting and checking them."""

    def __init__(self, chunks: Iterable[Data]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.crc = 0
        self.size = 0

    def portion(self, size: int | None) -> Iterator[memoryview]:
        """The next `size` bytes, all that are left for None. Afterwards `crc` and `size` are the portion's."""
        self.crc = self.size = 0
        while size is None or self.size < size:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
                continue
            block = self._rest if size is None else self._rest[: size - self.size]
            self._rest = self._rest[len(block) :]
            self.crc = zlib.crc32(block, self.crc)
            self.size += len(block)
            yield block
        if size is not None and self.size != size:
            raise RecipeInvalid("gzip recipe needs more plain bytes", wanted=size, found=self.size)


def rebuild_gzip(recipe: GzipRecipe, plain: Iterable[Data]) -> Iterator[bytes]:
    """The compressed file, in bounded memory. Raises RecipeInvalid when the recipe does not fit."""
    portions = _Portions(piece for chunk in plain for piece in blocks(chunk))
    for number, member in enumerate(recipe.members, 1):
        yield member.header
        size = None if number == len(recipe.members) else member.plain
        yield from rebuild(member.deflate, portions.portion(size))
        yield member.trailer or make_trailer(portions.crc, portions.size)
    if recipe.tail:
        yield recipe.tail
