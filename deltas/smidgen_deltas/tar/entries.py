"""Tree entries: what a layer says of each path, without the layer's bytes.

They come from a recipe, whose literal bytes hold all headers, so that a tree can be made from a tree document and
contents alone; the tar itself is never put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.tar.blockcode import RecipeCorrupt
from smidgen_deltas.tar.limits import DEFAULT, Limits
from smidgen_deltas.tar.member import Member, MemberType, Segment
from smidgen_deltas.tar.paths import clean
from smidgen_deltas.tar.pieces import Content, Literal, Piece
from smidgen_deltas.tar.reader import TarReader

ROOT: Final = b""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    Args:
        path: in its one spelling (`paths.clean`), relative; b"" is the root.
        type: never HARDLINK to something outside the tree; see `linkname`.
        mode: permission bits.
        mtime_ns: nanoseconds since 1970.
        xattrs: (name, value) sorted by name.
        linkname: of a symlink its literal target, of a hard link the clean path of the file it shares.
        size: bytes of a file, holes included; 0 for others.
        content: the stored bytes; None for all but files, and for empty or fully sparse ones.
        sparse: where stored bytes belong; None for files without holes.
    """

    path: bytes
    type: MemberType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    linkname: bytes = b""
    size: int = 0
    content: Content | None = None
    sparse: tuple[Segment, ...] | None = None
    devmajor: int = 0
    devminor: int = 0


def entry_of(member: Member, content: Content | None) -> Entry:
    """A member as a tree entry. Raises UnsafePath for a path or hard link that is not beneath the tree."""
    linkname = member.linkname
    return Entry(
        path=clean(member.path),
        type=member.type,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime_ns=member.mtime_ns,
        xattrs=member.xattrs,
        linkname=clean(linkname) if member.type is MemberType.HARDLINK else linkname,
        size=member.size,
        content=content,
        sparse=member.sparse,
        devmajor=member.devmajor,
        devminor=member.devminor,
    )


def entries(pieces: Iterable[Piece], limits: Limits = DEFAULT) -> Iterator[Entry]:
    """The entries of a layer, in the order of its tar, from its recipe.

    Raises:
        RecipeCorrupt: contents are not where the headers have files.
        TarCorrupt, TarAmbiguous, TarUnsupported, TarLimit, UnsafePath.
    """
    source = _PieceSource(pieces)
    for member in TarReader(source, limits=limits):
        yield entry_of(member, source.content(member.stored) if member.stored else None)


class _PieceSource:
    """A tar `Source` whose bodies are not there: they can only be passed over, each as one content."""

    __slots__ = ("_at", "_data", "_pending", "_pieces", "offset")

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = iter(pieces)
        self._pending: Content | None = None
        self._data = b""
        self._at = 0
        self.offset = 0

    def _fill(self) -> bool:
        """Make sure there is a literal byte at the cursor; False at the end or before a content."""
        while self._at >= len(self._data) and self._pending is None:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            if isinstance(piece, Literal):
                self._data, self._at = piece.data, 0
            else:
                self._pending = piece
        return self._at < len(self._data)

    def content(self, size: int) -> Content:
        """The content at the cursor, which must have that size."""
        if self._fill() or self._pending is None or self._pending.size != size:
            raise RecipeCorrupt("recipe has no content where its headers have a file", offset=self.offset, size=size)
        return self._pending

    def take(self, size: int) -> bytes:
        parts = []
        while size and (part := self.some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def some(self, limit: int) -> bytes:
        if not self._fill():
            if self._pending is not None:
                raise RecipeCorrupt("recipe has a content where its headers have none", offset=self.offset)
            return b""
        part = self._data[self._at : self._at + limit]
        self._at += len(part)
        self.offset += len(part)
        return part

    def skip(self, size: int) -> int:
        self.content(size)
        self._pending = None
        self.offset += size
        return size
