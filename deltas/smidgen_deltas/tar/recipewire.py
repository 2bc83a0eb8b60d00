"""The encoded form of a recipe. See FORMAT.md, "Recipe".

Both directions are streams: encoding holds what it has written, decoding holds the encoded form and one piece. A member
of a usual layer takes some tens of bytes before any compression.

Rules enforced here by the decoder, before any piece is handed out
 * the sections fill the encoding exactly
 * every content named is one of the caller's, and all sizes together are exactly the declared size of the tar
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from smidgen_deltas.errors import UnsupportedFeature
from smidgen_deltas.tar.blockcode import FragmentDecoder, FragmentEncoder, RecipeCorrupt
from smidgen_deltas.tar.header import BLOCK
from smidgen_deltas.tar.pieces import Content, Literal, Piece
from smidgen_deltas.wire import WireReader, put_bytes, put_varint

VERSION: Final = 1
MAX_TAR: Final = 1 << 50
MAX_NUMBER: Final = (1 << 64) - 1
FLUSH: Final = 64 << 10  # literal bytes coded or handed out at once


class ContentLike(Protocol):
    """What a recipe needs to know of a content (`native.tree.ContentRef` is one)."""

    @property
    def sha256(self) -> bytes: ...
    @property
    def size(self) -> int: ...


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _unzigzag(value: int) -> int:
    return -(value + 1 >> 1) if value & 1 else value >> 1


def _expected_gap(at: int, *, last: bool) -> int:
    """Literal bytes before the next content: padding of the one before, and one header (at the end: two blocks)."""
    return -at % BLOCK + (2 * BLOCK if last else BLOCK)


class _Encoder:
    def __init__(self, index_of: Callable[[Content], int]) -> None:
        self._index_of = index_of
        self._fragments = FragmentEncoder()
        self._gaps = bytearray()
        self._refs = bytearray()
        self._contents = 0
        self._expected_ref = 0
        self._at = 0  # in the tar, behind everything added
        self._gap_start = 0
        self._pending = bytearray()  # literal bytes not yet coded; they end at _at

    def literal(self, data: bytes) -> None:
        self._pending += data
        self._at += len(data)
        if len(self._pending) > FLUSH:
            self._code(len(self._pending) - 2 * BLOCK, 0)  # the last block waits: a content may begin behind it

    def content(self, content: Content) -> None:
        if content.size < 1:
            raise ValueError("a content has at least one byte")
        self._end_gap(content.size, last=False)
        index = self._index_of(content)
        put_varint(self._refs, _zigzag(index - self._expected_ref))
        self._expected_ref = index + 1
        self._contents += 1
        self._at += content.size
        self._gap_start = self._at

    def finish(self) -> bytes:
        self._end_gap(0, last=True)
        self._fragments.finish()
        out = bytearray([VERSION])
        put_varint(out, self._at)
        put_varint(out, self._contents)
        for section in (self._gaps, self._refs, self._fragments.control, self._fragments.data):
            put_bytes(out, bytes(section))
        return bytes(out)

    def _end_gap(self, size: int, *, last: bool) -> None:
        gap = self._at - self._gap_start
        put_varint(self._gaps, _zigzag(gap - _expected_gap(self._gap_start, last=last)))
        self._code(len(self._pending), size)

    def _code(self, length: int, size: int) -> None:
        """Code whole fragments within the first `length` pending bytes (all of them when that is all)."""
        start = self._at - len(self._pending)
        everything = length == len(self._pending)
        done = 0
        while done < length:
            end = min(done + BLOCK - (start + done) % BLOCK, len(self._pending))
            final = everything and end == len(self._pending)
            self._fragments.add(bytes(self._pending[done:end]), size if final else 0)
            done = end
        del self._pending[:done]


def encode(pieces: Iterable[Piece], index_of: Callable[[Content], int]) -> bytes:
    """Encode a recipe.

    Args:
        pieces: all of a tar, in order; may be an iterator, it is gone through once.
        index_of: the place of a content in the list that `decode` will be given.
    """
    encoder = _Encoder(index_of)
    for piece in pieces:
        if isinstance(piece, Literal):
            encoder.literal(piece.data)
        else:
            encoder.content(piece)
    return encoder.finish()


class EncodedRecipe:
    """A checked encoding; iterates its pieces, as often as wanted. Literal pieces are at most 64 KiB.

    Attributes:
        tar_size: bytes of the tar.
        contents: what indexes are of.
    """

    def __init__(self, data: bytes, contents: Sequence[ContentLike]) -> None:
        reader = WireReader(data, "tar recipe")
        version = reader.take(1)[0]
        if version != VERSION:
            raise UnsupportedFeature("tar recipe of an unknown version", version=version)
        self.tar_size = reader.number(MAX_TAR, "tar size")
        self._count = reader.number(reader.left, "content count")
        self._gaps, self._refs, self._control, self._data = (
            reader.block(reader.left, name) for name in ("gaps", "refs", "control", "data")
        )
        reader.done()
        self.contents = contents
        self._check()

    def indexes(self) -> Iterator[int]:
        """Which contents the tar is made of, in order, repeated ones repeatedly."""
        refs = WireReader(self._refs, "tar recipe")
        expected = 0
        for _ in range(self._count):
            index = expected + _unzigzag(refs.number(MAX_NUMBER, "content"))
            if not 0 <= index < len(self.contents):
                raise RecipeCorrupt("recipe names a content that is not there", index=index)
            yield index
            expected = index + 1
        refs.done()

    def places(self) -> Iterator[tuple[int, int]]:
        """Each content in order, with its offset in the tar; literal bytes are not decoded for that."""
        at = 0
        for gap, index in self._layout():
            if index >= 0:
                yield index, at + gap
                at += gap + self.contents[index].size

    def _layout(self) -> Iterator[tuple[int, int]]:
        """Runs of literal bytes, each with the index of the content behind it; the last has none: -1."""
        gaps = WireReader(self._gaps, "tar recipe")
        at = 0
        for index in self.indexes():
            content = self.contents[index]
            gap = _expected_gap(at, last=False) + _unzigzag(gaps.number(MAX_NUMBER, "gap"))
            if gap < 0 or content.size < 1 or at + gap + content.size > self.tar_size:
                raise RecipeCorrupt("recipe does not make a tar of its size", offset=at, tar_size=self.tar_size)
            yield gap, index
            at += gap + content.size
        gap = _expected_gap(at, last=True) + _unzigzag(gaps.number(MAX_NUMBER, "gap"))
        gaps.done()
        if gap < 0 or at + gap != self.tar_size:
            raise RecipeCorrupt("recipe does not make a tar of its size", offset=at, tar_size=self.tar_size)
        yield gap, -1

    def _check(self) -> None:
        for _ in self._layout():
            pass

    def __iter__(self) -> Iterator[Piece]:
        fragments = FragmentDecoder(self._control, self._data)
        at = 0
        for gap, index in self._layout():
            content = self.contents[index] if index >= 0 else None
            size = content.size if content else 0
            yield from _literals(fragments, at, gap, size)
            at += gap + size
            if content:
                yield Content(size, content.sha256)
        fragments.finish()


def _literals(fragments: FragmentDecoder, at: int, gap: int, size: int) -> Iterator[Literal]:
    end = at + gap
    held = bytearray()
    while at < end:
        length = min(BLOCK - at % BLOCK, end - at)
        held += fragments.next(length, size if at + length == end else 0)
        at += length
        if len(held) >= FLUSH:
            yield Literal(bytes(held))
            held.clear()
    if held:
        yield Literal(bytes(held))


def decode(data: bytes, contents: Sequence[ContentLike]) -> EncodedRecipe:
    """Check an encoded recipe and make it iterable.

    Args:
        contents: the list that `index_of` referred to when encoding.
    Raises:
        WireCorrupt, RecipeCorrupt, LimitExceeded, UnsupportedFeature: now; RecipeCorrupt also while iterating.
    """
    return EncodedRecipe(data, contents)
