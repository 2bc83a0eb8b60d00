"""tar archives <-> the contents of their regular files, by the tar package's recipe.

Recipe (version 1): the encoding of tar/FORMAT.md, "Recipe", whose contents are the streams in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers.base import (
    Allowance,
    Cost,
    Data,
    RecipeInvalid,
    SelfTestFailed,
    Split,
    blocks,
)
from smidgen_deltas.engine.unpackers.container import COPY_COST
from smidgen_deltas.errors import IntegrityError, LimitExceeded
from smidgen_deltas.tar.pieces import Content, Literal, Piece
from smidgen_deltas.tar.recipe import Splitter, decode, encode, rebuild
from smidgen_deltas.tar.recipewire import VERSION

MAGIC_AT: Final = 257
MAGIC: Final = b"ustar"
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A stream as the tar package wants contents; in place of a digest stands the stream's number."""

    size: int
    sha256: bytes


def _number(content: Content) -> int:
    return int.from_bytes(content.sha256, "big")


class TarUnpacker:
    """Any tar that our strict reader takes."""

    name: ClassVar[str] = "tar"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = False

    def sniff(self, data: memoryview) -> bool:
        return len(data) >= 2 * _BLOCK and bytes(data[MAGIC_AT : MAGIC_AT + 5]) == MAGIC

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        allowance.check(len(data))
        pieces = _pieces(data)
        streams = _streams(data, pieces)
        if not streams:
            return None
        return Split(encode(_renumbered(pieces), _number), streams)

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        if len(data) > limit:
            raise LimitExceeded("content is larger than allowed", limit=limit)
        return _streams(data, _pieces(data))

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        contents = [_Numbered(len(stream), number.to_bytes(32, "big")) for number, stream in enumerate(streams)]
        return _rebuild(decode(recipe, contents), streams)

    def cost(self, recipe: bytes) -> Cost:
        if recipe[:1] != bytes((VERSION,)):
            raise RecipeInvalid("tar recipe is of another version")
        return COPY_COST

    def self_test(self) -> str:
        data = _sample()
        pieces = _pieces(memoryview(data))
        streams = _streams(memoryview(data), pieces)
        recipe = encode(_renumbered(pieces), _number)
        if len(streams) != 1 or b"".join(self.repack(recipe, streams)) != data:
            raise SelfTestFailed("tar is not rebuilt")
        return "1 member"


def _pieces(data: memoryview) -> list[Piece]:
    """Everything in order. Raises FormatError."""
    return list(Splitter((bytes(block) for block in blocks(data)), lambda _member, _size: None))


def _renumbered(pieces: list[Piece]) -> Iterator[Piece]:
    number = 0
    for piece in pieces:
        if isinstance(piece, Literal):
            yield piece
        else:
            yield Content(piece.size, number.to_bytes(32, "big"))
            number += 1


def _streams(data: memoryview, pieces: list[Piece]) -> tuple[memoryview, ...]:
    """The contents, in place."""
    at, streams = 0, []
    for piece in pieces:
        size = len(piece.data) if isinstance(piece, Literal) else piece.size
        if isinstance(piece, Content):
            streams.append(data[at : at + size])
        at += size
    return tuple(streams)


def _rebuild(pieces: Iterable[Piece], streams: Sequence[Data]) -> Iterator[bytes]:
    def open_content(content: Content) -> Iterator[bytes]:
        return (bytes(block) for block in blocks(streams[_number(content)]))

    try:
        yield from rebuild(_in_order(pieces, len(streams)), open_content)
    except IntegrityError as error:
        raise RecipeInvalid("streams do not fit the tar recipe", reason=str(error)) from error


def _in_order(pieces: Iterable[Piece], count: int) -> Iterator[Piece]:
    """Hand on; RecipeInvalid unless every stream comes once, in order."""
    number = 0
    for piece in pieces:
        if isinstance(piece, Content):
            if _number(piece) != number:
                raise RecipeInvalid("tar recipe has streams out of order", expected=number)
            number += 1
        yield piece
    if number != count:
        raise RecipeInvalid("streams do not fit the tar recipe", expected=number, found=count)


def _sample() -> bytes:
    """One file of three bytes."""
    header = bytearray(_BLOCK)
    for at, field in ((0, b"a"), (100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0")):
        header[at : at + len(field)] = field
    header[124:148] = b"00000000003\00000000000000\0"[:24]
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\00000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"abc" + bytes(_BLOCK - 3) + bytes(2 * _BLOCK)
