"""Opening the old and new sides of a delta: plain files, tars in any compression, folders, commits, images.

A file that is a tar (also a compressed one) is seen as a tree of its members; any other file is one content. Bytes are
mapped, not read; a compressed tar is unpacked into a temporary file first.
"""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import lzma
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from smidgen_client.deltas import commits, images
from smidgen_client.deltas.folders import File, FolderFiles, tar_blocks
from smidgen_client.deltas.maps import Mapped, Place
from smidgen_client.deltas.splitting import TarIndex
from smidgen_deltas.engine.sources import Contents, Tree
from smidgen_deltas.errors import NotFound, SmidgenError, StorageError
from smidgen_deltas.native.paths import content_paths
from smidgen_deltas.native.tree import ContentRef, OciTree, OstreeTree, TarTree, encode_tree
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.recipe import Splitter, encode

BLOCK: Final = 1 << 20
MAX_TAR: Final = 1 << 42
TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_AT: Final = 257


class _Stream(Protocol):
    """What files, and files that unpack, offer."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...


class SideContents(Contents, Protocol):
    """Contents of a side."""

    def has(self, sha256: bytes) -> bool: ...
    def blocks(self, content: ContentRef) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Input:
    """One side of a delta, opened."""

    path: Path
    tree: Tree
    contents: SideContents


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
    """Open a folder, tar, commit (`ostree:REPO@REV`) or image (`oci:DIR:TAG`) as a tree, any other file as one content.

    Raises StorageError, NotFound, UsageError; for what is in repositories and layouts FormatError, IntegrityError.
    """
    with contextlib.ExitStack() as stack:
        if str(path).startswith((commits.KIND, images.KIND)):
            yield _of_store(path, stack)
            return
        if path.is_dir():
            yield _of_folder(path)
            return
        tar = open_tar(path, stack)
        found = _of_tar(path, tar) if tar else None
        yield found or _plain(path, stack.enter_context(open_regular(path)))


def _of_store(path: Path, stack: contextlib.ExitStack) -> Input:
    tree: OstreeTree | OciTree
    contents: SideContents
    if str(path).startswith(commits.KIND):
        tree, contents = commits.open_commit(str(path))
    else:
        tree, contents = images.open_image(str(path), stack)
    return Input(path, Tree(encode_tree(tree), tree.contents, content_paths(tree), contents), contents)


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


@dataclass(frozen=True, slots=True)
class _Split:
    """A tar, taken apart. bodies: what holds each content that is not empty, repeated ones repeatedly."""

    document: bytes
    index: TarIndex
    bodies: list[File]

    @property
    def firsts(self) -> Iterator[File]:
        """For each content where it was met first."""
        return (self.bodies[number] for number in self.index.firsts)

    def input(self, path: Path, contents: SideContents) -> Input:
        paths = tuple(file.path.decode(errors="replace").removeprefix("./") for file in self.firsts)
        return Input(path, Tree(self.document, tuple(self.index.contents), paths, contents), contents)


def _split(blocks: Iterable[bytes]) -> _Split:
    """Raises FormatError, and what reading the blocks raises."""
    bodies: list[File] = []

    def sink(member: Member, size: int) -> None:  # noqa: ARG001 - the reader's interface
        bodies.append(File(member.path, member.mtime_ns))

    splitter, index = Splitter(blocks, sink), TarIndex()
    recipe = encode(index.watch(splitter), index.number)
    tree = TarTree(splitter.diff_id.raw, splitter.tar_size, recipe, tuple(index.contents))
    return _Split(encode_tree(tree), index, bodies)


def _of_tar(path: Path, file: BinaryIO) -> Input | None:
    """The tree of a tar; None when it is damaged, so that it is handled as a plain file."""
    try:
        split = _split(_blocks(file))
    except SmidgenError:
        return None
    return split.input(path, Mapped(file, split.index.places))


def _of_folder(path: Path) -> Input:
    split = _split(tar_blocks(path))
    digests = (content.sha256 for content in split.index.contents)
    return split.input(path, FolderFiles(path, dict(zip(digests, split.firsts, strict=True))))
