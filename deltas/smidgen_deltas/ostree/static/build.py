"""Building a part: tables, data and operations of objects that are added one by one.

The data is on disk meanwhile. Large literals are compared with all that lies there already, and what repeats (an
initial ramdisk holds modules that are files of the tree too) is written from there once more instead of stored.
Checksums of sources are gathered behind the data: random bytes would stand in the way of what compresses well.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.header import Xattrs
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, FileHeader, ObjectName, ObjectType, swap32
from smidgen_deltas.ostree.static.copies import repeats
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
    encode_operations,
)
from smidgen_deltas.ostree.static.part import MODES, XATTR_LISTS
from smidgen_deltas.ostree.static.steps import Copied, Literal, Patched, Step

WORTH_COMPARING: Final = 1 << 20
BLOCK: Final = 1 << 20


@dataclass(slots=True)
class _Tables:
    modes: dict[tuple[int, int, int], int] = field(default_factory=dict)
    xattrs: dict[Xattrs, int] = field(default_factory=dict)

    def places(self, header: FileHeader) -> tuple[int, int]:
        owner = (header.uid, header.gid, header.mode)
        return self.modes.setdefault(owner, len(self.modes)), self.xattrs.setdefault(header.xattrs, len(self.xattrs))


class PartBuilder:
    """A part that grows. Call `close` when done with it."""

    def __init__(self) -> None:
        self.objects: list[ObjectName] = []
        self.usize = 0
        self._tables = _Tables()
        self._blob: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._size = 0
        self._sources: dict[bytes, int] = {}
        self._operations: list[Operation] = []

    @property
    def payload(self) -> int:
        """Bytes of the payload, but for operations and tables."""
        return self._size + CHECKSUM_SIZE * len(self._sources)

    def close(self) -> None:
        """Forget the data."""
        self._blob.close()

    def add_metadata(self, name: ObjectName, data: bytes) -> None:
        """A dirtree or dirmeta."""
        self._operations.append(Metadata(len(data), self._put(data)))
        self._listed(name, len(data))

    def add_symlink(self, checksum: bytes, header: FileHeader) -> None:
        target = header.target.encode()
        self._operations.append(Whole(*self._tables.places(header), len(target), self._put(target)))
        self._listed(ObjectName(ObjectType.FILE, checksum), 0)

    def add_file(self, checksum: bytes, header: FileHeader, size: int, steps: Sequence[Step]) -> None:
        """A regular file of `size` bytes. steps: in order; a Patched stands alone."""
        places = self._tables.places(header)
        writes = list(self._writes(steps))
        self._listed(ObjectName(ObjectType.FILE, checksum), size)
        match writes:
            case []:
                self._operations.append(Whole(*places, 0, 0))
            case [Write(length, offset)] if length == size and isinstance(steps[0], Literal):
                self._operations.append(Whole(*places, size, offset))
            case _:
                self._operations += [Open(*places, size), *writes, Close()]

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The payload. Nothing may be added afterwards."""
        modes = [(swap32(uid), swap32(gid), swap32(mode)) for uid, gid, mode in self._tables.modes]
        head = gvariant.encode(MODES, modes)
        ends = [len(head)]
        xattrs = gvariant.encode(XATTR_LISTS, list(self._tables.xattrs))
        ends.append(ends[0] + len(xattrs))
        yield head + xattrs
        self._blob.seek(0)
        while block := self._blob.read(BLOCK):
            yield block
        tail = b"".join(self._sources)
        ends.append(ends[1] + self._size + len(tail))
        operations = encode_operations(self._settled())
        body = ends[2] + len(operations)
        width = gvariant.frame_width(body, len(ends))
        yield tail + operations + b"".join(end.to_bytes(width, "little") for end in reversed(ends))

    def _writes(self, steps: Sequence[Step]) -> Iterator[Operation]:
        sourced: bytes | None = None
        for step in steps:
            source = None if isinstance(step, Literal) else step.source
            if source != sourced:
                yield Source(self._source(source)) if source is not None else NoSource()
                sourced = source
            match step:
                case Literal(data):
                    yield from self._literal(data)
                case Copied(_, offset, length):
                    yield Write(length, offset)
                case Patched(_, stream):
                    start = self._size
                    for piece in stream:
                        self._put(piece)
                    yield Patch(start, self._size - start)

    def _literal(self, data: Buffer) -> Iterator[Write]:
        """Writes of some bytes: from what is there already, as far as it is."""
        if len(data) < WORTH_COMPARING or not self._size:
            if len(data):
                yield Write(len(data), self._put(data))
            return
        self._blob.flush()
        with mmap.mmap(self._blob.fileno(), self._size, access=mmap.ACCESS_READ) as blob:
            found = repeats(blob, data)
        at = 0
        for start, place, length in [*found, (len(data), 0, 0)]:
            if start > at:
                yield Write(start - at, self._put(memoryview(data)[at:start]))
            if length:
                yield Write(length, place)
            at = start + length

    def _source(self, checksum: bytes) -> int:
        """The number of a source; `_settled` turns it into a place."""
        return self._sources.setdefault(checksum, len(self._sources))

    def _settled(self) -> Iterator[Operation]:
        for operation in self._operations:
            if isinstance(operation, Source):
                yield Source(self._size + operation.offset * CHECKSUM_SIZE)
            else:
                yield operation

    def _put(self, data: Buffer) -> int:
        start = self._size
        self._blob.write(data)
        self._size += len(data)
        return start

    def _listed(self, name: ObjectName, size: int) -> None:
        self.objects.append(name)
        self.usize += size
