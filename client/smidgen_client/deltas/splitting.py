"""Which contents tars have, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smidgen_client.deltas.maps import Place
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.tar.pieces import Content, Piece


class TarIndex:
    """Gives the contents of tars their numbers and remembers where each was met first.

    contents: in the order of their numbers; firsts: for each the number of the body that it was, counted over all tars;
    places: where each is in the file that has all tars.
    """

    def __init__(self) -> None:
        self.contents: list[ContentRef] = []
        self.firsts: list[int] = []
        self.places: dict[bytes, Place] = {}
        self._numbers: dict[bytes, int] = {}
        self._met = 0

    def watch(self, pieces: Iterable[Piece], at: int = 0) -> Iterator[Piece]:
        """Hand on the pieces of a tar that begins at `at` in the file."""
        for piece in pieces:
            if isinstance(piece, Content):
                if piece.sha256 not in self._numbers:
                    self._numbers[piece.sha256] = len(self.contents)
                    self.contents.append(ContentRef(piece.sha256, piece.size))
                    self.firsts.append(self._met)
                    self.places[piece.sha256] = Place(at, piece.size)
                self._met += 1
                at += piece.size
            else:
                at += len(piece.data)
            yield piece

    def number(self, content: Content) -> int:
        return self._numbers[content.sha256]

    def add(self, ref: ContentRef, at: int) -> None:
        """A content that is no body: a blob as it is."""
        if ref.sha256 not in self._numbers:
            self._numbers[ref.sha256] = len(self.contents)
            self.contents.append(ref)
            self.firsts.append(-1)
            self.places[ref.sha256] = Place(at, ref.size)

    def cut(self, count: int) -> None:
        """Forget all contents but the first `count`."""
        for ref in self.contents[count:]:
            del self._numbers[ref.sha256], self.places[ref.sha256]
        del self.contents[count:], self.firsts[count:]
