"""The push API for ostree: which objects are missing, and taking them in.

A record is the 33-byte name (type, checksum), u64 big-endian length and the object in archive form. Every object is
verified before the index knows it. When a record is bad or the sender goes away, what came before it is kept, so the
sender asks again what is missing and goes on. A push links nothing that only other repositories have: whoever names a
checksum has not shown to have the object.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.filez import read_filez_header
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, ObjectType
from smidgen_server.index import guard, ostree
from smidgen_server.index.batches import batches
from smidgen_server.index.ostree import Name
from smidgen_server.services.ingest import scratch_dir
from smidgen_server.services.ostree_check import check_filez
from smidgen_server.services.ostree_store import ObjectWriter

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

NAME: Final = 33
LENGTH: Final = struct.Struct(">Q")
MAX_NAMES: Final = 1 << 20
MAX_NAME_BYTES: Final = NAME * MAX_NAMES
_DECODE: Final[Mapping[ObjectType, Callable[[bytes], object]]] = {
    ObjectType.DIRTREE: DirTree.decode,
    ObjectType.DIRMETA: DirMeta.decode,
    ObjectType.COMMIT: Commit.decode,
}


class RecordInvalid(FormatError):
    """A record of the push API is cut short, or names a type that cannot be pushed."""


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def missing(services: Services, repo_id: int, body: bytes) -> bytes:
    """Those of the named objects that the repository does not have, in the same form and order."""
    if len(body) % NAME:
        raise RecordInvalid("the list of names ends inside a name", length=len(body))
    names = [_name(body[at : at + NAME]) for at in range(0, len(body), NAME)]
    lacking: list[Name] = []
    for part in batches(names):
        with services.index.session() as session:
            guard.share(session)
            present = ostree.visible(session, repo_id, part)
            ostree.touch(session, repo_id, present.values(), now=int(time.time()))
            lacking += [name for name in part if name not in present]
    return b"".join(bytes([kind]) + checksum for kind, checksum in lacking)


def receive(services: Services, repo_id: int, source: Source) -> int:
    """Take in records until the end of `source`; returns how many objects there were.

    Raises:
        RecordInvalid, FormatError: a record or an object is damaged.
        DigestMismatch: an object does not hash to its name.
        LimitExceeded: a metadata object is too large.
    """
    with ObjectWriter(services.index, services.blobs, repo_id) as writer:
        while record := _read_record(source):
            _receive_object(services, writer, *record, source)
    services.metrics.ingested.labels("push").inc(writer.bytes)
    return writer.stored


def set_detached(services: Services, repo_id: int, commit: bytes, body: bytes) -> None:
    """Store detached metadata of a commit, be the commit there already or not."""
    if len(body) > services.settings.limits.metadata_bytes:
        raise LimitExceeded("detached metadata is too large", limit=services.settings.limits.metadata_bytes)
    gvariant.decode("a{sv}", body)
    with services.index.session() as session:
        ostree.set_detached(session, repo_id, commit, body)


def _read_record(source: Source) -> tuple[Name, int] | None:
    head = _upto(source, NAME + LENGTH.size)
    if not head:
        return None
    if len(head) < NAME + LENGTH.size:
        raise RecordInvalid("the body ends inside the head of a record", length=len(head))
    return _name(head[:NAME]), LENGTH.unpack(head[NAME:])[0]


def _name(data: bytes) -> Name:
    if data[0] not in (ObjectType.FILE, *_DECODE):
        raise RecordInvalid("an object of this type cannot be pushed", type=data[0])
    return ObjectType(data[0]), data[1:]


def _receive_object(services: Services, writer: ObjectWriter, name: Name, length: int, source: Source) -> None:
    kind, checksum = ObjectType(name[0]), name[1]
    bounded = _Bounded(source, length)
    if kind is ObjectType.FILE:
        header, size = read_filez_header(bounded)
        if size > services.settings.limits.blob_bytes:
            raise LimitExceeded("file is too large", size=size, limit=services.settings.limits.blob_bytes)
        writer.put_file(check_filez(checksum, header, size, bounded, scratch_dir(services)))
        return
    if length > services.settings.limits.metadata_bytes:
        raise LimitExceeded("metadata object is too large", size=length, limit=services.settings.limits.metadata_bytes)
    body = _upto(bounded, length)
    if len(body) < length:
        raise RecordInvalid("the body ends inside an object", checksum=checksum.hex())
    found = hashlib.sha256(body).digest()
    if found != checksum:
        raise DigestMismatch("object does not match its name", expected=checksum.hex(), found=found.hex())
    _DECODE[kind](body)
    writer.put_metadata(kind, checksum, body)


class _Bounded:
    """The next `length` bytes of a source."""

    def __init__(self, source: Source, length: int) -> None:
        self._source, self._left = source, length

    def read(self, size: int, /) -> bytes:
        block = self._source.read(min(size, self._left))
        self._left -= len(block)
        return block


def _upto(source: Source, size: int) -> bytes:
    """`size` bytes, fewer only at the end."""
    out = bytearray()
    while len(out) < size and (block := source.read(size - len(out))):
        out += block
    return bytes(out)
