"""Carrying out the operations of a part: objects come out one by one, into a store that checks each against its name.

Memory: files that are read from are held while they are small, mapped from a temporary file when they are large; at
most the last few are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

from smidgen_deltas.engine.scratch import gather
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, FileHeader, ObjectName
from smidgen_deltas.ostree.repo import FileObject
from smidgen_deltas.ostree.static.bsdiff import apply_bsdiff
from smidgen_deltas.ostree.static.located import located
from smidgen_deltas.ostree.static.operations import (
    Close,
    Metadata,
    NoSource,
    Open,
    Operation,
    Patch,
    Source,
    Whole,
    Write,
)
from smidgen_deltas.ostree.static.part import Part, PartInvalid

BLOCK: Final = 1 << 20
MAX_TARGET: Final = 4096  # bytes of a symlink's target
KEPT: Final = 4
KEPT_BYTES: Final = 64 << 20


class ObjectStore(Protocol):
    """What objects are put into; `repo_writer.Transaction` is one. What is put is compared with its name at once."""

    def has(self, name: ObjectName) -> bool: ...
    def put_metadata(self, name: ObjectName, data: bytes) -> None: ...
    def put_file(self, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None: ...
    def open_file(self, checksum: bytes) -> AbstractContextManager[FileObject]: ...


Step = tuple[Write | Patch, bytes | None]


def replay(part: Part, objects: tuple[ObjectName, ...], store: ObjectStore) -> None:
    """Put every object of a part into `store`, but for those that it has.

    Raises PartInvalid, BsdiffInvalid, ObjectMissing for a source, and what the store raises: DigestMismatch,
    SizeMismatch, StorageError.
    """
    _Replay(part, objects, store).run()


class _Replay:
    def __init__(self, part: Part, objects: tuple[ObjectName, ...], store: ObjectStore) -> None:
        self._part, self._objects, self._store = part, objects, store
        self._sources = _Sources(store)
        self._source: bytes | None = None
        self._opened: Open | None = None
        self._steps: list[Step] = []

    def run(self) -> None:
        for number, operation in self._part.operations:
            if number < len(self._objects):  # behind the last object nothing is made
                with located(object=str(self._objects[number])):
                    self._carry_out(self._objects[number], operation)

    def _carry_out(self, name: ObjectName, operation: Operation) -> None:
        match operation:
            case Source(offset):
                self._source = bytes(self._part.blob[offset : offset + CHECKSUM_SIZE])
            case NoSource():
                self._source = None
            case Open():
                self._opened, self._steps = operation, []
            case Write() | Patch():
                self._steps.append((operation, self._source))
            case Metadata():
                self._source = None
                self._put_metadata(name, operation)
            case Whole():
                self._source = None
                self._put_whole(name, operation)
            case Close() if self._opened:
                self._put_file(name, self._opened, self._steps)
                self._source = self._opened = None

    def _put_metadata(self, name: ObjectName, operation: Metadata) -> None:
        if not self._store.has(name):
            data = self._part.blob[operation.offset : operation.offset + operation.length]
            self._store.put_metadata(name, bytes(data))

    def _put_whole(self, name: ObjectName, operation: Whole) -> None:
        if self._store.has(name):
            return
        data = self._part.blob[operation.offset : operation.offset + operation.size]
        if not self._part.is_symlink(operation.mode):
            header = self._part.header(operation.mode, operation.xattrs)
            self._store.put_file(name.checksum, header, len(data), _pieces(data))
            return
        if len(data) > MAX_TARGET:
            raise PartInvalid("symlink's target is too long", object=str(name), size=len(data), limit=MAX_TARGET)
        try:
            target = bytes(data).decode()
        except UnicodeDecodeError as error:
            raise PartInvalid("symlink's target is not UTF-8", object=str(name)) from error
        if not target or "\0" in target:
            raise PartInvalid("symlink's target is empty or holds NUL", object=str(name))
        self._store.put_file(name.checksum, self._part.header(operation.mode, operation.xattrs, target), 0, ())

    def _put_file(self, name: ObjectName, opened: Open, steps: list[Step]) -> None:
        if self._store.has(name):
            return
        if self._part.is_symlink(opened.mode):
            raise PartInvalid("a symlink cannot be opened", object=str(name))
        header = self._part.header(opened.mode, opened.xattrs)
        self._store.put_file(name.checksum, header, opened.size, self._content(name, opened.size, steps))

    def _content(self, name: ObjectName, size: int, steps: list[Step]) -> Iterator[bytes]:
        for operation, source in steps:
            if isinstance(operation, Patch):
                stream = self._part.blob[operation.offset : operation.offset + operation.length]
                yield from apply_bsdiff(stream, self._sources.open(source or b""), size)
                continue
            origin = memoryview(self._part.blob if source is None else self._sources.open(source))
            if operation.offset + operation.length > len(origin):
                raise PartInvalid(
                    "operation reads beyond its source",
                    object=str(name),
                    source=source.hex() if source else "-",
                    offset=operation.offset,
                    length=operation.length,
                    size=len(origin),
                )
            yield from _pieces(origin[operation.offset : operation.offset + operation.length])


class _Sources:
    """The files that were read from last."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: OrderedDict[bytes, Buffer] = OrderedDict()

    def open(self, checksum: bytes) -> Buffer:
        """All bytes of a file object, verified. Raises ObjectMissing, PartInvalid for a symlink."""
        found = self._kept.get(checksum)
        if found is None:
            with self._store.open_file(checksum) as opened:
                if opened.header.is_symlink:
                    raise PartInvalid("a symlink cannot be read from", source=checksum.hex())
                found = gather(opened.chunks, opened.size)
            self._kept[checksum] = found
        self._kept.move_to_end(checksum)
        while len(self._kept) > 1 and (len(self._kept) > KEPT or sum(map(len, self._kept.values())) > KEPT_BYTES):
            self._kept.popitem(last=False)
        return found


def _pieces(view: memoryview) -> Iterator[bytes]:
    for at in range(0, len(view), BLOCK):
        yield bytes(view[at : at + BLOCK])
