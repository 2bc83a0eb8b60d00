"""Opening the old and new sides of a delta: plain files, and tars in any compression.

A file that is a tar (also a compressed one) is seen as a tree of its members; anything else is one content. Bytes are
mapped, not read; a compressed tar is unpacked into a temporary file first.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.errors import NotFound, SmidgenError
from smidgen_deltas.native.tree import ContentRef, TarTree, encode_tree
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.pieces import Content, Piece
from smidgen_deltas.tar.recipe import Splitter, encode

BLOCK: Final = 1 << 20
MAX_TAR: Final = 1 << 42
TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_AT: Final = 257


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies in a mapped file."""

    start: int
    size: int


class Mapped:
    """Contents inside one mapped file, by digest."""

    def __init__(self, view: memoryview, places: dict[bytes, Place]) -> None:
        self._view = view
        self._places = places

    def has(self, sha256: bytes) -> bool:
        return sha256 in self._places

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound."""
        place = self._places.get(content.sha256)
        if place is None or place.size != content.size:
            raise NotFound("content is not in this input", digest=content.sha256.hex())
        return self._view[place.start : place.start + place.size]


@dataclass(frozen=True, slots=True)
class Input:
    """One side of a delta, opened."""

    path: Path
    tree: Tree
    contents: Mapped


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[Input]:
    """Open a file as a tree if it is a tar, else as one content. Raises StorageError, NotFound."""
    if not path.is_file():
        raise NotFound("no such file", path=str(path))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        tar = _as_tar(file, stack)
        view = _map(tar or file, stack)
        found = _split(path, view) if tar else None
        yield found or _plain(path, view)


def _as_tar(file: BinaryIO, stack: contextlib.ExitStack) -> BinaryIO | None:
    """The uncompressed tar in `file`: itself, an unpacked copy, or None when it is no tar."""
    head = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    file.seek(0)
    if head[TAR_MAGIC_AT:] == TAR_MAGIC:
        return file
    if not head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return None
    unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    try:
        for block in open_layer("", file, MAX_TAR):
            if unpacked.tell() == 0 and block[TAR_MAGIC_AT : TAR_MAGIC_AT + len(TAR_MAGIC)] != TAR_MAGIC:
                file.seek(0)
                return None
            unpacked.write(block)
    except SmidgenError:
        file.seek(0)
        return None
    unpacked.flush()
    return unpacked


def _map(file: BinaryIO, stack: contextlib.ExitStack) -> memoryview:
    size = file.seek(0, 2)
    if not size:
        return memoryview(b"")
    mapped = stack.enter_context(contextlib.closing(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)))
    view = memoryview(mapped)
    stack.callback(_release, view)
    return view


def _release(view: memoryview) -> None:
    with contextlib.suppress(BufferError):
        view.release()


def _plain(path: Path, view: memoryview) -> Input:
    digest = hashlib.sha256(view).digest()
    content = ContentRef(digest, len(view))
    contents = Mapped(view, {digest: Place(0, len(view))})
    return Input(path, Tree(None, (content,), (path.name,), contents), contents)


def _split(path: Path, view: memoryview) -> Input | None:
    """The tree of a tar; None when it is damaged, so that it is handled as a plain file."""
    paths: list[str] = []

    def sink(member: Member, size: int) -> None:  # noqa: ARG001 - the reader's interface
        paths.append(member.path.decode(errors="replace").removeprefix("./"))

    blocks = (bytes(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK))
    splitter = Splitter(blocks, sink)
    index = _Index()
    try:
        recipe = encode(index.watch(splitter), index.number)
    except SmidgenError:
        return None
    document = TarTree(splitter.diff_id.raw, splitter.tar_size, recipe, tuple(index.contents))
    contents = Mapped(view, index.places)
    firsts = tuple(paths[number] for number in index.firsts)
    raw = encode_tree(document)
    return Input(path, Tree(raw, tuple(index.contents), firsts, contents), contents)


class _Index:
    """Gives contents their numbers and remembers where each was met first."""

    def __init__(self) -> None:
        self.contents: list[ContentRef] = []
        self.firsts: list[int] = []
        self.places: dict[bytes, Place] = {}
        self._numbers: dict[bytes, int] = {}
        self._met = 0

    def watch(self, pieces: Iterator[Piece] | Splitter) -> Iterator[Piece]:
        at = 0
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
