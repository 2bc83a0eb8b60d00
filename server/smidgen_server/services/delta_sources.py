"""Published revisions as the engine's trees: documents from blobs, paths from these, bytes from wherever they lie."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.errors import NotFound, SizeMismatch
from smidgen_deltas.native.tree import ContentRef, OciTree, OstreeTree, decode_tree
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.walk import paths
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.recipe import EncodedRecipe
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index import content, surface
from smidgen_server.index.base import Index
from smidgen_server.services.contents import locate, read_content

SMALL: Final = 1 << 20  # bytes; larger contents are mapped, not held


class StoredContents:
    """Contents by digest, for several threads. Large ones are spooled to a file without name and mapped."""

    def __init__(self, index: Index, blobs: BlobReader, ids: Mapping[bytes, int]) -> None:
        self._index, self._blobs, self._ids = index, blobs, ids

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound, SizeMismatch, ContentLost."""
        number = self._ids.get(content.sha256)
        if number is None:
            raise NotFound("a revision names a content that the server does not have", digest=content.sha256.hex())
        blocks = read_content(self._blobs, locate(self._index, [number])[number])
        data = b"".join(blocks) if content.size <= SMALL else _mapped(blocks)
        if len(data) != content.size:
            raise SizeMismatch("a stored content has another size", digest=content.sha256.hex(), expected=content.size)
        return data


def _mapped(blocks: Iterator[bytes]) -> memoryview:
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(block)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def open_tree(index: Index, blobs: BlobReader, revision_id: int) -> Tree:
    """A revision whose surface is built."""
    with index.read() as session:
        part = surface.get_revision(session, revision_id).tree
    with blobs.open(part.digest) as blocks:
        document = zstd.decompress(b"".join(blocks), part.raw_size)
    tree = decode_tree(document)
    with index.read() as session:
        ids = content.ids(session, [one.sha256 for one in tree.contents])
    found = _ostree_paths(tree) if isinstance(tree, OstreeTree) else _oci_paths(tree)
    first: dict[int, str] = {}
    for number, path in found:
        first.setdefault(number, path)
    names = tuple(first.get(number, "") for number in range(len(tree.contents)))
    return Tree(document, tree.contents, names, StoredContents(index, blobs, ids))


def _ostree_paths(tree: OstreeTree) -> Iterator[tuple[int, str]]:
    commit = Digest.of(tree.commit).raw
    known = {ObjectName(ObjectType.COMMIT, commit): tree.commit}
    known |= {ObjectName(ObjectType.DIRTREE, Digest.of(body).raw): body for body in tree.dirtrees}
    files = {file.checksum: file.content for file in tree.files}
    for path, name, meta in paths(known.__getitem__, commit):
        if meta is None and files[name.checksum] >= 0:
            yield files[name.checksum], path


def _oci_paths(tree: OciTree) -> Iterator[tuple[int, str]]:
    numbers = {one.sha256: number for number, one in enumerate(tree.contents)}
    for layer in tree.layers:
        for entry in entries(EncodedRecipe(layer.recipe, tree.contents)):
            if entry.content is not None:
                yield numbers[entry.content.sha256], entry.path.decode(errors="replace").removeprefix("./")
