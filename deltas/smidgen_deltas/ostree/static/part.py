"""A part of a static delta: a byte for the compression, and the payload `(a(uuu)aa(ayay)ayay)`.

The payload has a table of (uid, gid, mode), big-endian, a table of xattrs, the blob that operations refer to, and the
operations. Payloads can be large, so they are unpacked into a mapped temporary file and never copied as a whole.

Rules enforced here
 * nothing is unpacked before size and sha256 of the part's file were compared (parts inside a superblock have no digest
   of their own to go by: they are covered by the superblock's)
 * the payload is bounded by what the part says its objects are; patches may need more than that, hence the slack
 * `usize` is what the objects come to, or more up to the payload's size, as generators declare that heed bounds on it
"""

from __future__ import annotations

import hashlib
import lzma
import mmap
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, SizeMismatch, UnsupportedFeature
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.header import XATTRS, Xattrs
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, FileHeader, check_xattrs, swap32
from smidgen_deltas.ostree.static.limits import DECODER_MEMORY
from smidgen_deltas.ostree.static.operations import (
    Metadata,
    Open,
    Operation,
    Source,
    Tables,
    Whole,
    decode_operations,
)
from smidgen_deltas.ostree.static.superblock import PartEntry

PAYLOAD: Final = "(a(uuu)aa(ayay)ayay)"
MODES: Final = "a(uuu)"
XATTR_LISTS: Final = f"a{XATTRS}"
PLAIN: Final = 0
XZ: Final = ord("x")
SLACK: Final = 64 << 20
MAX_PAYLOAD: Final = 16 << 30
MAX_TABLE: Final = 64 << 20  # bytes of each table and of the operations
BLOCK: Final = 1 << 20


class PartInvalid(FormatError):
    """A part cannot be unpacked, or its tables are not what ostree allows."""


@dataclass(frozen=True, slots=True)
class Part:
    """An unpacked part; operations are checked against its tables. blob: stays valid as long as it is referred to."""

    modes: tuple[tuple[int, int, int], ...]
    xattrs: tuple[Xattrs, ...]
    blob: memoryview
    operations: tuple[tuple[int, Operation], ...]

    def header(self, mode: int, xattrs: int, target: str = "") -> FileHeader:
        """The header that two places in the tables make. Raises ObjectInvalid."""
        uid, gid, bits = self.modes[mode]
        return FileHeader.checked(uid, gid, bits, 0, target, self.xattrs[xattrs])

    def is_symlink(self, mode: int) -> bool:
        return stat.S_ISLNK(self.modes[mode][2])

    def made(self) -> int:
        """Bytes of all objects that the operations make; symlinks have none."""
        size = 0
        for _, operation in self.operations:
            match operation:
                case Metadata(length=length):
                    size += length
                case Whole(mode=mode, size=length) | Open(mode=mode, size=length):
                    size += 0 if self.is_symlink(mode) else length
                case _:
                    pass
        return size

    def sources(self) -> Iterator[tuple[int, bytes]]:
        """What the operations read from: number of the object that is being made, checksum of a file object."""
        for number, operation in self.operations:
            if isinstance(operation, Source):
                yield number, bytes(self.blob[operation.offset : operation.offset + CHECKSUM_SIZE])


def check_part(data: bytes | memoryview, entry: PartEntry, number: int) -> None:
    """Raise SizeMismatch or DigestMismatch unless `data` is the file that the superblock names."""
    if len(data) != entry.size:
        raise SizeMismatch("part has the wrong size", part=number, expected=entry.size, found=len(data))
    found = hashlib.sha256(data).digest()
    if found != entry.sha256:
        raise DigestMismatch(
            "part is not what was promised", part=number, expected=entry.sha256.hex(), found=found.hex()
        )


def open_part(data: bytes | memoryview, entry: PartEntry) -> Part:
    """Unpack a part and check its tables and operations.

    Raises PartInvalid, OperationInvalid, LimitExceeded, NotNormal, ObjectInvalid, SizeMismatch, UnsupportedFeature.
    """
    return decode_payload(_spooled(_unpacked(data, entry)), entry)


def decode_payload(payload: mmap.mmap, entry: PartEntry) -> Part:
    """Read an unpacked payload. Raises as `open_part`."""
    spans = gvariant.tuple_spans(PAYLOAD, payload)
    modes_at, xattrs_at, (blob, blob_end), operations_at = spans
    for (start, end), what in ((modes_at, "modes"), (xattrs_at, "xattrs"), (operations_at, "operations")):
        if end - start > MAX_TABLE:
            raise LimitExceeded("table of a part is too large", table=what, size=end - start, limit=MAX_TABLE)
    modes = tuple(
        (swap32(uid), swap32(gid), swap32(mode)) for uid, gid, mode in gvariant.decode(MODES, payload[slice(*modes_at)])
    )
    xattrs: tuple[Xattrs, ...] = gvariant.decode(XATTR_LISTS, payload[slice(*xattrs_at)])
    for listed in xattrs:
        check_xattrs(listed)
    operations = decode_operations(
        payload[slice(*operations_at)], entry.objects, Tables(len(modes), len(xattrs), blob_end - blob)
    )
    part = Part(modes, xattrs, memoryview(payload)[blob:blob_end], tuple(operations))
    made = part.made()
    if not made <= entry.usize <= max(made, len(payload)):
        raise SizeMismatch("part makes another amount than it declares", usize=entry.usize, made=made)
    return part


def _unpacked(data: bytes | memoryview, entry: PartEntry) -> Iterator[bytes | memoryview]:
    """The payload in blocks, at most as much as the part may hold."""
    if not len(data):
        raise PartInvalid("part is empty")
    limit = min(MAX_PAYLOAD, 4 * entry.usize + SLACK)
    body = memoryview(data)[1:]
    if data[0] not in (PLAIN, XZ):
        raise UnsupportedFeature("part is compressed in an unknown way", compression=data[0])
    done = 0
    for block in _inflated(body) if data[0] == XZ else (body,):
        done += len(block)
        if done > limit:
            raise LimitExceeded("part unpacks to more than its objects can need", limit=limit, usize=entry.usize)
        yield block


def _inflated(body: memoryview) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_MEMORY)
    at = 0
    try:
        while not decoder.eof:
            block = b""
            if decoder.needs_input:
                block = bytes(body[at : at + BLOCK])
                if not block:
                    raise PartInvalid("compressed part ends early", size=len(body))
                at += len(block)
            yield decoder.decompress(block, BLOCK)
    except lzma.LZMAError as error:
        raise PartInvalid("part is not an xz stream that can be read", near=at, reason=str(error)) from error
    if decoder.unused_data or at < len(body):
        raise PartInvalid("compressed part is followed by other bytes", near=at, size=len(body))


def _spooled(blocks: Iterator[bytes | memoryview]) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(block)
        file.flush()
        if not file.tell():
            raise PartInvalid("part has no payload")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
