"""Opening the old and new sides of a delta: plain files, tars in any compression, and folders.

A file that is a tar (also a compressed one) is seen as a tree of its members; any other file is one content. Bytes are
mapped, not read; a compressed tar is unpacked into a temporary file first, a folder is copied into one as a tar.
"""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import lzma
import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from smidgen_client.deltas.folders import write_tar
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.errors import NotFound, SmidgenError, StorageError
from smidgen_deltas.native.tree import ContentRef, TarTree, encode_tree
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.pieces import Content, Piece
from smidgen_deltas.tar.recipe import Splitter, encode

BLOCK: Final = 1 << 20
SMALL: Final = 1 << 17  # bytes; a mapping costs more than reading these
MAX_TAR: Final = 1 << 42
TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_AT: Final = 257


class _Stream(Protocol):
    """What files, and files that unpack, offer."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies in a file."""

    start: int
    size: int


class Mapped:
    """Contents inside one open file, by digest: small ones are read, large ones mapped for as long as they are used."""

    def __init__(self, file: BinaryIO, places: dict[bytes, Place]) -> None:
        self._file = file
        self._places = places

    def has(self, sha256: bytes) -> bool:
        return sha256 in self._places

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound."""
        place = self._places.get(content.sha256)
        if place is None or place.size != content.size:
            raise NotFound("content is not in this input", digest=content.sha256.hex())
        data = _read(self._file.fileno(), place)
        if len(data) != place.size:
            raise NotFound("an input became shorter", digest=content.sha256.hex())
        return data


def _read(handle: int, place: Place) -> Buffer:
    if place.size <= SMALL:
        return os.pread(handle, place.size, place.start)
    aligned = place.start - place.start % mmap.ALLOCATIONGRANULARITY
    skipped = place.start - aligned
    try:
        found = mmap.mmap(handle, skipped + place.size, access=mmap.ACCESS_READ, offset=aligned)
    except ValueError:  # beyond the end of the file
        return b""
    return memoryview(found)[skipped:]


@dataclass(frozen=True, slots=True)
class Input:
    """One side of a delta, opened."""

    path: Path
    tree: Tree
    contents: Mapped


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; nothing that could block or never end. Raises NotFound, StorageError."""
    if not path.is_file():
        raise NotFound("no such file", path=str(path))
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageError("file cannot be read", path=str(path), reason=error.strerror) from error


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[Input]:
    """Open a folder or a tar as a tree, any other file as one content. Raises StorageError, NotFound."""
    with contextlib.ExitStack() as stack:
        tar = _tar_of(path, stack) if path.is_dir() else open_tar(path, stack)
        found = _split(path, tar) if tar else None
        yield found or _plain(path, stack.enter_context(open_regular(path)))


def _tar_of(folder: Path, stack: contextlib.ExitStack) -> BinaryIO:
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    write_tar(folder, file)
    file.flush()
    return file


def open_tar(path: Path, stack: contextlib.ExitStack) -> BinaryIO | None:
    """The uncompressed tar in a file: itself, an unpacked copy, or None when it is no tar.

    Raises StorageError, NotFound.
    """
    file = stack.enter_context(open_regular(path))
    head = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    file.seek(0)
    if head[TAR_MAGIC_AT:] == TAR_MAGIC:
        return file
    unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    try:
        for block in _unpacked(head, file):
            if unpacked.tell() == 0 and block[TAR_MAGIC_AT : TAR_MAGIC_AT + len(TAR_MAGIC)] != TAR_MAGIC:
                return None
            unpacked.write(block)
    except (SmidgenError, lzma.LZMAError, EOFError, ValueError):  # damaged: a plain file
        return None
    unpacked.flush()
    return unpacked if unpacked.tell() else None


def _unpacked(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    """The content of a compressed file, in blocks; nothing for a file that is not compressed."""
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        yield from open_layer("", file, MAX_TAR)
    elif head.startswith(b"\xfd7zXZ\0"):
        with lzma.open(file) as stream:
            yield from _blocks(stream)
    elif head.startswith(b"BZh"):
        try:
            with bz2.open(file) as stream:
                yield from _blocks(stream)
        except OSError as error:  # what bz2 says of damaged data
            raise ValueError(str(error)) from error


def _blocks(file: _Stream) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _plain(path: Path, file: BinaryIO) -> Input:
    hasher = hashlib.sha256()
    size = 0
    for block in _blocks(file):
        hasher.update(block)
        size += len(block)
    content = ContentRef(hasher.digest(), size)
    contents = Mapped(file, {content.sha256: Place(0, size)})
    return Input(path, Tree(None, (content,), (path.name,), contents), contents)


def _split(path: Path, file: BinaryIO) -> Input | None:
    """The tree of a tar; None when it is damaged, so that it is handled as a plain file."""
    paths: list[str] = []

    def sink(member: Member, size: int) -> None:  # noqa: ARG001 - the reader's interface
        paths.append(member.path.decode(errors="replace").removeprefix("./"))

    splitter = Splitter(_blocks(file), sink)
    index = _Index()
    try:
        recipe = encode(index.watch(splitter), index.number)
    except SmidgenError:
        return None
    document = TarTree(splitter.diff_id.raw, splitter.tar_size, recipe, tuple(index.contents))
    contents = Mapped(file, index.places)
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
