"""Published revisions as the engine's trees: documents from blobs, paths from these, bytes from wherever they lie."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.errors import NotFound, SizeMismatch
from smidgen_deltas.native.paths import content_paths
from smidgen_deltas.native.tree import ContentRef, decode_tree
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
    return Tree(document, tree.contents, content_paths(tree), StoredContents(index, blobs, ids))
