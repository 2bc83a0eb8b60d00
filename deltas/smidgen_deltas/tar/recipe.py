"""Taking a tar apart into literal bytes and contents, and making the very same tar again.

    recipe = split(blocks, sink)                  or, without holding it:  encode(Splitter(blocks, sink), index_of)
    data = encode(recipe.pieces, index_of)        compact form, for tree documents
    blocks = rebuild(decode(data, contents), open_content, diff_id)

Every byte of the tar is in exactly one piece, so any archive that the reader accepts comes back bit for bit, with
whatever follows its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, SizeMismatch
from smidgen_deltas.tar.blockcode import RecipeCorrupt
from smidgen_deltas.tar.limits import DEFAULT, Limits
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.pieces import Content, Literal, Piece, Recipe
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.recipewire import ContentLike, EncodedRecipe, decode, encode

__all__ = [
    "BodyWriter",
    "Content",
    "ContentLike",
    "EncodedRecipe",
    "Literal",
    "Piece",
    "Recipe",
    "RecipeCorrupt",
    "Sink",
    "Splitter",
    "decode",
    "encode",
    "rebuild",
    "split",
]

FLUSH: Final = 64 << 10


class BodyWriter(Protocol):
    """Takes one content. Unless `finish` is called, the tar was cut short or refused: drop what was written."""

    def write(self, data: bytes, /) -> object: ...

    def finish(self, sha256: bytes, /) -> object: ...


Sink = Callable[[Member, int], BodyWriter | None]
"""Called with a member and the size of its content; None when the content is not wanted."""


class Splitter:
    """Iterates the pieces of a tar while its contents go to `sink`. Afterwards `tar_size` and `diff_id` are known.

    Args:
        blocks: the uncompressed tar; read to its end.
    Raises (while iterating): what `TarReader` raises, and whatever the sink raises.
    """

    def __init__(self, blocks: Iterable[bytes], sink: Sink, limits: Limits = DEFAULT) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self._size = 0
        self._held = bytearray()
        self._done = False
        self._reader = TarReader(self._counted(blocks), limits=limits, literal=self._held.extend)

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._hash.update(block)
            self._size += len(block)
            yield block

    @property
    def tar_size(self) -> int:
        self._require_done()
        return self._size

    @property
    def diff_id(self) -> Digest:
        self._require_done()
        return Digest("sha256", self._hash.hexdigest())

    def _require_done(self) -> None:
        if not self._done:
            raise RuntimeError("the tar was not yet read to its end")

    def __iter__(self) -> Iterator[Piece]:
        for member in self._reader:
            if member.stored:
                yield from self._flush()
                yield self._content(member)
            elif len(self._held) >= FLUSH:
                yield from self._flush()
        yield from self._flush()
        self._done = True

    def _flush(self) -> Iterator[Literal]:
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            yield Literal(data)

    def _content(self, member: Member) -> Content:
        writer = self._sink(member, member.stored)
        hasher = hashlib.sha256()
        for block in member.chunks():
            hasher.update(block)
            if writer is not None:
                writer.write(block)
        if writer is not None:
            writer.finish(hasher.digest())
        return Content(member.stored, hasher.digest())


def split(blocks: Iterable[bytes], sink: Sink, limits: Limits = DEFAULT) -> Recipe:
    """Take a tar apart; contents go to `sink`, in order. Holds all literal bytes: see `Splitter` for large tars."""
    splitter = Splitter(blocks, sink, limits)
    pieces = tuple(splitter)
    return Recipe(pieces, splitter.tar_size, splitter.diff_id)


def rebuild(
    pieces: Iterable[Piece],
    open_content: Callable[[Content], Iterable[bytes]],
    diff_id: Digest | None = None,
) -> Iterator[bytes]:
    """Yield the tar. Nothing is trustworthy until the iterator has ended without an error.

    Args:
        open_content: the bytes of a content, in blocks.
        diff_id: what the whole must hash to. Without it only sizes are checked.
    Raises:
        SizeMismatch: a content is shorter or longer than the recipe says; never more than that is yielded.
        DigestMismatch: at the end, when the whole is not `diff_id`.
    """
    hasher = hashlib.new(diff_id.algorithm) if diff_id else None
    for piece in pieces:
        for block in (piece.data,) if isinstance(piece, Literal) else _exactly(piece, open_content(piece)):
            if hasher:
                hasher.update(block)
            yield block
    if hasher and diff_id and hasher.hexdigest() != diff_id.hex:
        raise DigestMismatch("rebuilt tar is another", expected=str(diff_id), found=hasher.hexdigest())


def _exactly(content: Content, blocks: Iterable[bytes]) -> Iterator[bytes]:
    found = 0
    for block in blocks:
        found += len(block)
        if found > content.size:
            break
        yield block
    if found != content.size:
        raise SizeMismatch("content has another size", sha256=content.sha256.hex(), expected=content.size, found=found)
