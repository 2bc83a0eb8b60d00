"""The engine's view of this device: old contents wherever they lie, new ones to the store that is being filled."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from smidgen_client.fetch.parts import PartFiles
from smidgen_client.fetch.sink import HELD_IN_MEMORY, ContentSink
from smidgen_client.seeds.index import FILEZ, MAX_TAR, PLAIN, Location
from smidgen_client.seeds.use import Seeds
from smidgen_client.targets.base import Assembly
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.tree import ContentRef, OstreeTree, decode_contents, decode_tree
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.ostree.filez import inflate, read_filez_header
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository


class OldContents:
    """Tree documents of the sources, and where their contents are on this device.

    What is read is not hashed: the engine hashes what it makes of it. `open` may be called by several threads.
    """

    def __init__(self, seeds: Seeds) -> None:
        self._seeds = seeds
        self._documents: dict[bytes, bytes] = {}
        self._contents: dict[bytes, ContentRef] = {}
        self._places: dict[bytes, Location] = {}
        self._objects: dict[bytes, tuple[Repository, bytes]] = {}
        self._layers: dict[Path, IO[bytes]] = {}
        self._unpacking = threading.Lock()

    def add(self, raw: bytes, repositories: Iterable[Repository]) -> None:
        """A source: its raw tree document, and ostree repositories that have it (if it is a commit)."""
        self._documents[hashlib.sha256(raw).digest()] = raw
        contents = {one.sha256: one for one in decode_contents(raw)}
        self._contents |= contents
        self._places |= self._seeds.locate(contents.values())
        if lost := contents.keys() - self._places.keys():
            tree = decode_tree(raw)
            if isinstance(tree, OstreeTree):
                self._add_objects(tree, lost, repositories)

    def _add_objects(self, tree: OstreeTree, lost: Collection[bytes], repositories: Iterable[Repository]) -> None:
        """Contents whose place the cache does not know, as objects of a repository that has the commit."""
        for repository in repositories:
            for entry in tree.files:
                ref = tree.contents[entry.content] if entry.content >= 0 else None
                if ref is not None and ref.sha256 in lost:
                    self._objects.setdefault(ref.sha256, (repository, entry.checksum))

    def missing(self) -> int:
        """How many contents of the sources are nowhere."""
        return sum(sha256 not in self._places and not self._in_repository(sha256) for sha256 in self._contents)

    def _in_repository(self, sha256: bytes) -> bool:
        found = self._objects.get(sha256)
        return found is not None and found[0].has(ObjectName(ObjectType.FILE, found[1]))

    def open(self, content: ContentRef) -> Buffer | None:
        """A document or a content of a source; None when it is neither."""
        document = self._documents.get(content.sha256)
        if document is not None:
            return document
        place = self._places.get(content.sha256)
        if place is not None and place.size == content.size:
            return self._read(place)
        if content.sha256 in self._objects:
            repository, checksum = self._objects[content.sha256]
            with repository.open_file(checksum) as opened:
                return gather(opened.chunks, content.size)
        return None

    def _read(self, place: Location) -> Buffer:
        if place.packing == PLAIN:
            with place.path.open("rb") as file:
                return _mapped(file.fileno(), place.start, place.size)
        if place.packing == FILEZ:
            with place.path.open("rb") as file:
                _, size = read_filez_header(file)
                return gather(inflate(file, size), size)
        return _mapped(self._layer(place.path).fileno(), place.start, place.size)

    def _layer(self, path: Path) -> IO[bytes]:
        """A packed layer, unpacked into a file without name, once. Contents are mapped one by one, never all of it."""
        with self._unpacking:
            if path not in self._layers:
                spool = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object
                weakref.finalize(self, spool.close)
                with path.open("rb") as file:
                    for block in open_layer("", file, MAX_TAR):
                        spool.write(block)
                spool.flush()
                self._layers[path] = spool
            return self._layers[path]


class DeltaStore:
    """See engine.apply.Store. Until `attach`, only the tree document can be made; it is held in memory."""

    def __init__(self, old: OldContents) -> None:
        self._old = old
        self._document: tuple[ContentRef, bytes] | None = None
        self._attached: tuple[ContentSink, Assembly] | None = None
        self._numbers: dict[bytes, int] = {}

    @property
    def document(self) -> bytes:
        """The new tree document. Raises NotFound before it was rebuilt."""
        if self._document is None:
            raise NotFound("the delta did not rebuild a tree document")
        return self._document[1]

    def attach(self, sink: ContentSink, assembly: Assembly) -> None:
        """From now on contents go to `sink`, and those that are there can be read from `assembly`."""
        self._attached = (sink, assembly)
        self._numbers = {ref.sha256: number for number, ref in enumerate(assembly.contents)}

    def numbers(self, contents: Iterable[ContentRef]) -> list[int]:
        """Places of contents in the new tree."""
        return [self._numbers[one.sha256] for one in contents]

    def open(self, content: ContentRef) -> Buffer:
        """See engine.apply.Store."""
        if self._document is not None and content == self._document[0]:
            return self._document[1]
        found = self._old.open(content)
        if found is None and self._attached is not None and content.sha256 in self._numbers:
            found = gather(self._attached[1].read(self._numbers[content.sha256]), content.size)
        if found is None or len(found) != content.size:
            raise NotFound("a source of the delta is not on this device", digest=content.sha256.hex())
        return found

    @contextmanager
    def create(self, content: ContentRef) -> Iterator[_Target]:
        """See engine.apply.Store."""
        if self._attached is None:
            target = _Target(self, content, None, -1)
        else:
            sink, assembly = self._attached
            target = _Target(self, content, (sink, assembly.parts), self._numbers[content.sha256])
        yield target

    def take_document(self, content: ContentRef, data: bytes) -> None:
        self._document = (content, data)


class _Target:
    """One content on its way: small ones in memory, large ones in a part file."""

    def __init__(
        self, store: DeltaStore, content: ContentRef, attached: tuple[ContentSink, PartFiles] | None, number: int
    ) -> None:
        self._store, self._content, self._attached, self._number = store, content, attached, number
        self._held = bytearray()
        self._at = 0
        self._large = attached is not None and content.size > HELD_IN_MEMORY
        self._wanted = attached is None or bool(attached[0].left[number])
        if attached is not None and self._large and self._wanted:
            attached[1].discard(content.sha256)

    def write(self, data: Buffer, /) -> None:
        if not self._wanted:
            return
        if self._attached is not None and self._large:
            self._attached[1].write(self._content.sha256, self._content.size, self._at, data)
        else:
            self._held += data
        self._at += len(data)

    def finish(self) -> None:
        """All bytes are there and hash right. Raises IntegrityError when the store sees that otherwise."""
        if self._attached is None:
            self._store.take_document(self._content, bytes(self._held))
            return
        if not self._wanted:
            return
        sink, parts = self._attached
        if self._large:
            right = sink.offer(self._number, lambda: parts.blocks(self._content.sha256, self._content.size))
            parts.discard(self._content.sha256)
        else:
            data = bytes(self._held)
            right = sink.offer(self._number, lambda: (data,))
        if not right:
            raise sink.failed.pop()


def gather(blocks: Iterable[Buffer], size: int) -> Buffer:
    """All of some blocks: large ones in a file without name, mapped."""
    if size <= HELD_IN_MEMORY:
        return b"".join(blocks)
    with tempfile.TemporaryFile() as spool:
        for block in blocks:
            spool.write(block)
        spool.flush()
        return memoryview(mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ))


def _mapped(handle: int, start: int, size: int) -> Buffer:
    if size == 0:
        return b""  # mmap takes a length of 0 for everything
    aligned = start - start % mmap.ALLOCATIONGRANULARITY
    try:
        found = mmap.mmap(handle, start - aligned + size, access=mmap.ACCESS_READ, offset=aligned)
    except ValueError as error:  # the file is shorter than it was
        raise NotFound("a source of the delta changed", size=size) from error
    return memoryview(found)[start - aligned :]
