"""zip files: wheels, jars. Each member's plain bytes are a stream.

Recipe (version 1):

    flags (1: fields are written anew), number of members; per member: kind (0 the stream is the member's data as it
    is, n the plain bytes of deflate recipe n), stream length, literal bytes since the last member, of these its local
    header; literal bytes up to the directory, and from the directory on; number of deflate recipes, these (length
    first); all literals one after another

With fields written anew, CRCs, sizes and offsets in local and central headers and the end record are zeros in the
literals: they follow from the streams. So a change in one member does not show up in the headers of all others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers import zip_format
from smidgen_deltas.engine.unpackers.base import (
    MAX_OUTPUT,
    Allowance,
    Budget,
    BudgetSpent,
    Cost,
    Data,
    RecipeInvalid,
    SelfTestFailed,
    Split,
    blocks,
)
from smidgen_deltas.engine.unpackers.container import COPY_COST
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer, DeflateRecipe, rebuild
from smidgen_deltas.engine.unpackers.gzip import deflate_cost, inflate
from smidgen_deltas.engine.unpackers.vectors import plain as vector
from smidgen_deltas.engine.unpackers.zip_fields import FieldWriter, blank_fields, fields_follow
from smidgen_deltas.engine.unpackers.zip_format import DEFLATED, LOCAL_MAGIC, ZipFile, ZipMember
from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.wire import WireReader, put_bytes, put_varint

MAX_MEMBERS: Final = 0xFFFF
RAW: Final = 0


@dataclass(frozen=True, slots=True)
class MemberRecipe:
    """`kind` RAW or the number of a deflate recipe, counted from 1; `gap` includes `header`, both in bytes."""

    kind: int
    size: int
    gap: int
    header: int


@dataclass(frozen=True, slots=True)
class ZipRecipe:
    """A whole file beside its streams."""

    follow: bool
    members: tuple[MemberRecipe, ...]
    before: int
    behind: int
    deflates: tuple[DeflateRecipe, ...]
    literals: bytes

    def encode(self) -> bytes:
        out = bytearray((self.follow,))
        put_varint(out, len(self.members))
        for member in self.members:
            for value in (member.kind, member.size, member.gap, member.header):
                put_varint(out, value)
        put_varint(out, self.before)
        put_varint(out, self.behind)
        put_varint(out, len(self.deflates))
        for deflate in self.deflates:
            put_bytes(out, deflate.encode())
        return bytes(out) + self.literals

    @classmethod
    def decode(cls, recipe: bytes) -> ZipRecipe:
        """Raise a FormatError unless everything is in range and fits together."""
        reader = WireReader(recipe, "zip recipe")
        follow = bool(reader.number(1, "flags"))
        most = len(recipe)
        members = tuple(
            MemberRecipe(
                reader.number(most, "member kind"),
                reader.number(MAX_OUTPUT, "stream length"),
                reader.number(most, "literal length"),
                reader.number(most, "header length"),
            )
            for _ in range(reader.number(min(MAX_MEMBERS, most), "member count"))
        )
        before, behind = reader.number(most, "literal length"), reader.number(most, "literal length")
        deflates = tuple(
            DeflateRecipe.decode(reader.block(most, "deflate recipe"))
            for _ in range(reader.number(len(members), "deflate recipes"))
        )
        literals = reader.take(reader.left)
        found = cls(follow, members, before, behind, deflates, literals)
        found.check()
        return found

    def check(self) -> None:
        """Raise RecipeInvalid unless the numbers fit together."""
        total = sum(member.gap for member in self.members) + self.before + self.behind
        if total != len(self.literals):
            raise RecipeInvalid("zip recipe has too few or too many literals", declared=total, found=len(self.literals))
        for member in self.members:
            if member.kind > len(self.deflates) or member.header > member.gap:
                raise RecipeInvalid("zip recipe is out of range")
            if self.follow and member.header < zip_format.LOCAL_SIZE:
                raise RecipeInvalid("zip recipe lacks a local header")


class ZipUnpacker:
    """zip file <-> the plain bytes of its members, in the order in which they stand in the file."""

    name: ClassVar[str] = "zip"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = False

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:4]) == LOCAL_MAGIC

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        found = zip_format.parse(data)
        if not found.members:
            return None
        taken = _Taken(allowance)
        for member in found.members:
            taken.take(data[member.start : member.start + member.packed], member)
        follow = fields_follow(data, found, taken.checks)
        recipe = _recipe(data, found, taken, follow=follow)
        return Split(recipe.encode(), tuple(taken.streams))

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        streams: list[Data] = []
        for member in zip_format.parse(data).members:
            packed: Data = data[member.start : member.start + member.packed]
            if member.method == DEFLATED:
                packed = inflate(packed, -zlib.MAX_WBITS, limit)[0]
            limit -= len(packed)
            if limit < 0:
                raise LimitExceeded("content is larger than allowed")
            streams.append(packed)
        return tuple(streams)

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        parsed = ZipRecipe.decode(recipe)
        if [len(stream) for stream in streams] != [member.size for member in parsed.members]:
            raise RecipeInvalid("streams do not fit the zip recipe", expected=len(parsed.members), found=len(streams))
        return _rebuild(parsed, streams)

    def cost(self, recipe: bytes) -> Cost:
        parsed = ZipRecipe.decode(recipe)
        return deflate_cost(parsed.deflates) if parsed.deflates else COPY_COST

    def self_test(self) -> str:
        plain = vector(3000)
        deflate = DeflateRecipe(model=5, builder=0)
        data = _sample(plain, b"".join(rebuild(deflate, (plain,))))
        split = self.unpack(memoryview(data), Budget().start())
        if not split or not split.recipe[0] or b"".join(self.repack(split.recipe, split.streams)) != data:
            raise SelfTestFailed("zip file is not rebuilt")
        return "one member, fields written anew"


class _Taken:
    """The members' streams, and what tells how to pack them again."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._total = 0
        self._model: int | None = None
        self._numbers: dict[DeflateRecipe, int] = {}
        self.streams: list[Data] = []
        self.kinds: list[int] = []
        self.checks: list[tuple[int, int]] = []  # CRC and length of the plain bytes, as far as known

    @property
    def deflates(self) -> tuple[DeflateRecipe, ...]:
        return tuple(self._numbers)

    def take(self, packed: memoryview, member: ZipMember) -> None:
        """Inflate if that can be undone, else keep the data as it is."""
        inflated = self._inflate(packed) if member.method == DEFLATED else None
        if inflated is None:
            self._keep(packed, RAW)
            self.checks.append((zlib.crc32(packed), len(packed)) if not member.method else (member.crc, member.plain))
            return
        plain, deflate = inflated
        self._keep(plain, 1 + self._numbers.setdefault(deflate, len(self._numbers)))
        self.checks.append((zlib.crc32(plain), len(plain)))

    def _keep(self, stream: Data, kind: int) -> None:
        self._total += len(stream)
        self._allowance.check(self._total)
        self.streams.append(stream)
        self.kinds.append(kind)

    def _inflate(self, packed: memoryview) -> tuple[bytes, DeflateRecipe] | None:
        analyzer = DeflateAnalyzer(self._allowance, self._model)
        try:
            plain = [analyzer.feed(block) for block in blocks(packed)]
            plain.append(analyzer.close())
            if analyzer.unused():
                return None
            found = b"".join(plain), analyzer.recipe()
        except BudgetSpent:
            self._allowance.check(self._total + analyzer.plain_size)
            return None
        except FormatError:
            return None
        self._model = analyzer.model
        return found


def _recipe(data: memoryview, found: ZipFile, taken: _Taken, *, follow: bool) -> ZipRecipe:
    source = memoryview(blank_fields(data, found)) if follow else data
    members, literals, at = [], bytearray(), 0
    for member, kind, stream in zip(found.members, taken.kinds, taken.streams, strict=True):
        members.append(MemberRecipe(kind, len(stream), member.start - at, member.start - member.header))
        literals += source[at : member.start]
        at = member.start + member.packed
    literals += source[at:]
    before, behind = found.directory - at, len(data) - found.directory
    return ZipRecipe(follow, tuple(members), before, behind, taken.deflates, bytes(literals))


def _rebuild(recipe: ZipRecipe, streams: Sequence[Data]) -> Iterator[bytes]:
    """Member by member: its packed bytes are held until its header, which tells their length, is out."""
    fields = FieldWriter() if recipe.follow else None
    at = offset = 0
    for member, stream in zip(recipe.members, streams, strict=True):
        gap = bytearray(recipe.literals[at : at + member.gap])
        at += member.gap
        parts = [stream] if not member.kind else rebuild(recipe.deflates[member.kind - 1], (stream,))
        packed = [bytes(part) for part in parts]
        size = sum(map(len, packed))
        if fields:
            fields.local(gap, member.header, offset, size, stream)
        offset += len(gap) + size
        yield bytes(gap)
        yield from packed
    tail = bytearray(recipe.literals[at:])
    if fields:
        fields.directory(tail, recipe.before, offset)
    yield bytes(tail)


def _sample(plain: bytes, packed: bytes) -> bytes:
    """A zip file with one member."""
    facts = b"".join(value.to_bytes(4, "little") for value in (zlib.crc32(plain), len(packed), len(plain)))
    common = b"\x14\0\0\0\x08\0" + bytes(4) + facts + b"\x01\0\0\0"
    local = LOCAL_MAGIC + common + b"a" + packed
    central = zip_format.CENTRAL_MAGIC + b"\x14\0" + common + bytes(14) + b"a"
    sizes = len(central).to_bytes(4, "little") + len(local).to_bytes(4, "little")
    return local + central + zip_format.END_MAGIC + bytes(4) + b"\x01\0\x01\0" + sizes + bytes(2)
