"""Objects out of one layer, while it streams by.

Read are format version 1 as it is written now (`.file-xattrs-link` as files) and as it was (hard links to
`.file-xattrs`, named by the sha256 of their bytes), and version 0 (`.file.xattrs`, links to `xattrs/SHA256`). All
else, the deployed view above all, is passed over: it says nothing that the objects do not say.

Rules enforced here
 * nothing lies in `objects` but folders and objects, once each
 * the commit is the first object, its detached metadata the next; xattrs come right before their file
 * no path is unsafe, no metadata object over MAX_METADATA, no xattrs over MAX_XATTRS, all shared ones bounded, too
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import DigestMismatch, LimitExceeded
from smidgen_deltas.ostree.container.layout import (
    LINK,
    MAX_XATTRS,
    REPO,
    ContainerInvalid,
    object_type,
    parse_object,
)
from smidgen_deltas.ostree.header import decode_xattrs
from smidgen_deltas.ostree.objects import MAX_METADATA, FileHeader, ObjectName, ObjectType
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.paths import clean, show
from smidgen_deltas.tar.reader import TarReader

MAX_SHARED: Final = 64 << 20
_OBJECTS: Final = f"{REPO}/objects/".encode()
_SHARED: Final = "file-xattrs"
_OLDEST: Final = "file.xattrs"
_LINKS: Final = frozenset({LINK, _OLDEST})
_OLD_PLACES: Final = (f"{REPO}/xattrs/".encode(), b"sysroot/ostree/xattrs/", b"sysroot/xattrs/", b"xattrs/")
_HEX: Final = 64


@dataclass(frozen=True, slots=True)
class MetadataObject:
    """A commit, its detached metadata, a dirtree or dirmeta; not verified yet."""

    name: ObjectName
    data: bytes


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file object; `chunks` are there until the next object is asked for. Not verified yet."""

    checksum: bytes
    header: FileHeader
    size: int
    chunks: Iterator[bytes]


class LayerReader:
    """Iterates the objects of a layer's tar.

    Raises (while iterating): ContainerInvalid, ObjectInvalid, DigestMismatch, LimitExceeded, NotNormal, UnsafePath,
    TarCorrupt and the other errors of TarReader.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._tar = TarReader(blocks)
        self._shared: dict[bytes, bytes] = {}
        self._room = MAX_SHARED
        self._seen: set[ObjectName] = set()
        self._last: ObjectName | None = None
        self._xattrs: tuple[bytes, bytes] | None = None

    def __iter__(self) -> Iterator[MetadataObject | FileBody]:
        for member in self._tar:
            path = clean(member.path)
            named = parse_object(path)
            if named is not None:
                found = self._object(member, *named)
                if found is not None:
                    yield found
            elif path.startswith(_OBJECTS) and member.type is not MemberType.DIRECTORY:
                raise ContainerInvalid("not an object", path=show(path), offset=member.offset)
            elif path.startswith(_OLD_PLACES) and member.type is MemberType.FILE:
                self._share(member, path.rpartition(b"/")[2])

    def _object(self, member: Member, checksum: bytes, extension: str) -> MetadataObject | FileBody | None:
        if extension == _SHARED:
            self._share(member, checksum.hex().encode())
            return None
        if extension in _LINKS:
            self._xattrs = (checksum, self._linked(member))
            return None
        kind = object_type(extension)
        if kind is None:
            raise ContainerInvalid("not an object", path=show(member.path), offset=member.offset)
        name = ObjectName(kind, checksum)
        self._check_order(name, member)
        if kind is ObjectType.FILE:
            return self._file(name, member)
        return MetadataObject(name, _whole(member, MAX_METADATA))

    def _check_order(self, name: ObjectName, member: Member) -> None:
        if name in self._seen:
            raise ContainerInvalid("object is in a layer twice", object=str(name), offset=member.offset)
        if name.type is ObjectType.COMMIT and self._last is not None:
            raise ContainerInvalid("commit is not the first object", object=str(name), offset=member.offset)
        if name.type is ObjectType.COMMITMETA and self._last != ObjectName(ObjectType.COMMIT, name.checksum):
            raise ContainerInvalid("detached metadata is not behind its commit", object=str(name), offset=member.offset)
        self._seen.add(name)
        self._last = name

    def _file(self, name: ObjectName, member: Member) -> FileBody:
        if self._xattrs is None or self._xattrs[0] != name.checksum:
            raise ContainerInvalid("file object without xattrs before it", object=str(name), offset=member.offset)
        xattrs = decode_xattrs(self._xattrs[1])
        self._xattrs = None
        if member.type is MemberType.SYMLINK:
            try:
                target = member.linkname.decode()
            except UnicodeDecodeError as error:
                raise ContainerInvalid("symlink target is not UTF-8", object=str(name), offset=member.offset) from error
            mode = stat.S_IFLNK | member.mode
            return FileBody(name.checksum, file_header(member, mode, target, xattrs), 0, iter(()))
        if member.type is not MemberType.FILE or member.sparse is not None:
            raise ContainerInvalid("file object is neither file nor symlink", object=str(name), offset=member.offset)
        header = file_header(member, stat.S_IFREG | member.mode, "", xattrs)
        return FileBody(name.checksum, header, member.size, member.chunks())

    def _share(self, member: Member, name: bytes) -> None:
        """Keep xattrs that several files link to. They are named by their sha256."""
        data = _whole(member, MAX_XATTRS)
        found = hashlib.sha256(data).hexdigest().encode()
        if found != name:
            raise DigestMismatch("xattrs do not match their name", expected=show(name), found=found.decode())
        if name not in self._shared:
            self._room -= len(data) + len(name)
            if self._room < 0:
                raise LimitExceeded("too many xattrs in a layer", offset=member.offset, limit=MAX_SHARED)
            self._shared[name] = data

    def _linked(self, member: Member) -> bytes:
        if member.type is not MemberType.HARDLINK:
            return _whole(member, MAX_XATTRS)
        target = clean(member.linkname)
        named = parse_object(target)
        key = named[0].hex().encode() if named and named[1] == _SHARED else target.rpartition(b"/")[2]
        found = self._shared.get(key)
        if found is None or len(key) != _HEX:
            raise ContainerInvalid("link to xattrs that are not there", target=show(target), offset=member.offset)
        return found


def file_header(member: Member, mode: int, target: str, xattrs: tuple[tuple[bytes, bytes], ...]) -> FileHeader:
    """The header of a file object whose owner is that of a tar's member. Raises LimitExceeded, ObjectInvalid."""
    return FileHeader.checked(_id(member, member.uid), _id(member, member.gid), mode, 0, target, xattrs)


def _id(member: Member, number: int) -> int:
    if number >= 1 << 32:
        raise LimitExceeded("owner is out of range", path=show(member.path), offset=member.offset, found=number)
    return number


def _whole(member: Member, limit: int) -> bytes:
    if member.type is not MemberType.FILE or member.sparse is not None:
        raise ContainerInvalid("object is not a regular file", path=show(member.path), offset=member.offset)
    if member.size > limit:
        raise LimitExceeded("object is too large", path=show(member.path), size=member.size, limit=limit)
    return b"".join(member.chunks())
