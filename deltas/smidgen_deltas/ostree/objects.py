"""Ostree objects: file headers, dirtrees, dirmetas, commits, and how each is hashed and named.

Source: ostree's repository format (`ostree-core`), as read by stock ostree 2022.7 and later. Numbers are big-endian
inside the little-endian GVariant container; `encode` and `decode` hide that. `decode` accepts the normal form only.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from smidgen_deltas.errors import DigestMismatch, FormatError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.header import Xattrs as Xattrs
from smidgen_deltas.ostree.header import decode_tail, encode_tail
from smidgen_deltas.ostree.listing import CHECKSUM_SIZE as CHECKSUM_SIZE
from smidgen_deltas.ostree.listing import ListingInvalid, decode_listing, encode_listing

HEADER: Final = "(uuuusa(ayay))"
DIRTREE: Final = "(a(say)a(sayay))"
DIRMETA: Final = "(uuua(ayay))"
COMMIT: Final = "(a{sv}aya(say)sstayay)"
MAX_METADATA: Final = 128 << 20  # what stock clients accept (10 MiB before 2023.4)
MAX_HEADER: Final = 1 << 20
_PREFIX: Final = struct.Struct(">I4x")
_NUMBERS: Final = struct.Struct(">4I")


class ObjectInvalid(FormatError):
    """An object is well-formed GVariant but not what ostree allows."""


class ObjectType(IntEnum):
    """Numbers as static deltas and our push records use them."""

    FILE = 1
    DIRTREE = 2
    DIRMETA = 3
    COMMIT = 4
    TOMBSTONE = 5
    COMMITMETA = 6


EXTENSIONS: Final = {
    ObjectType.FILE: ".file",
    ObjectType.DIRTREE: ".dirtree",
    ObjectType.DIRMETA: ".dirmeta",
    ObjectType.COMMIT: ".commit",
    ObjectType.TOMBSTONE: ".tombstone-commit",
    ObjectType.COMMITMETA: ".commitmeta",
}
HASHED_METADATA: Final = frozenset({ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.COMMIT})


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """Type and 32 raw bytes of checksum."""

    type: ObjectType
    checksum: bytes

    def __str__(self) -> str:
        return self.checksum.hex() + EXTENSIONS[self.type]


def loose_path(name: ObjectName, mode: str) -> str:
    """`objects/ab/cdef….ext`; file objects are `.filez` when `mode` is an archive mode."""
    text = name.checksum.hex()
    extension = EXTENSIONS[name.type]
    if name.type is ObjectType.FILE and mode.startswith("archive"):
        extension = ".filez"
    return f"objects/{text[:2]}/{text[2:]}{extension}"


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file object says beside its bytes.

    Args:
        mode: full st_mode, a regular file or a symlink.
        xattrs: sorted pairs of name (with its trailing NUL) and value.
        target: of a symlink, else empty.
    """

    uid: int
    gid: int
    mode: int
    xattrs: Xattrs = ()
    target: str = ""

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    def encode(self) -> bytes:
        """The variant `(uuuusa(ayay))`, as it is hashed."""
        return encode_tail(_NUMBERS.pack(self.uid, self.gid, self.mode, 0), self.target, self.xattrs)

    def prefix(self) -> bytes:
        """What goes into the hash before the file's bytes: length, padding, variant."""
        body = self.encode()
        return _PREFIX.pack(len(body)) + body

    @classmethod
    def decode(cls, data: bytes) -> FileHeader:
        """Raises NotNormal or ObjectInvalid."""
        if len(data) > MAX_HEADER:
            raise ObjectInvalid("file header is too large", size=len(data), limit=MAX_HEADER)
        target, xattrs = decode_tail(data, _NUMBERS.size)
        uid, gid, mode, rdev = _NUMBERS.unpack_from(data)
        return cls.checked(uid, gid, mode, rdev, target, xattrs)

    @classmethod
    def checked(cls, uid: int, gid: int, mode: int, rdev: int, target: str, xattrs: Xattrs) -> FileHeader:
        """The rules of stock clients: no devices, a regular file or a symlink, xattrs in order."""
        if rdev:
            raise ObjectInvalid("file object with a device number", rdev=rdev)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise ObjectInvalid("file object is neither a regular file nor a symlink", mode=oct(mode))
        if stat.S_ISREG(mode) and target:
            raise ObjectInvalid("regular file with a symlink target", target=target[:100])
        check_xattrs(xattrs)
        return cls(uid, gid, mode, xattrs, target)


@dataclass(frozen=True, slots=True)
class DirMeta:
    """Owner, mode (full st_mode of a directory) and xattrs of a directory."""

    uid: int
    gid: int
    mode: int
    xattrs: Xattrs = ()

    def encode(self) -> bytes:
        return gvariant.encode(DIRMETA, (swap32(self.uid), swap32(self.gid), swap32(self.mode), self.xattrs))

    @classmethod
    def decode(cls, data: bytes) -> DirMeta:
        """Raises NotNormal or ObjectInvalid."""
        uid, gid, mode, xattrs = gvariant.decode(DIRMETA, data)
        if not stat.S_ISDIR(swap32(mode)):
            raise ObjectInvalid("dirmeta is not of a directory", mode=oct(swap32(mode)))
        check_xattr_names(xattrs)  # libostree before 2024 wrote those of tars in any order, and ACLs twice
        return cls(swap32(uid), swap32(gid), swap32(mode), xattrs)


@dataclass(frozen=True, slots=True)
class DirTree:
    """A listing: files (name, checksum) and dirs (name, dirtree checksum, dirmeta checksum), sorted by bytes."""

    files: tuple[tuple[str, bytes], ...] = ()
    dirs: tuple[tuple[str, bytes, bytes], ...] = ()

    def encode(self) -> bytes:
        return encode_listing(self.files, self.dirs)

    @classmethod
    def decode(cls, data: bytes) -> DirTree:
        """Raises NotNormal or ObjectInvalid: names that could leave the directory, or the same name twice."""
        try:
            files, dirs = decode_listing(data)
        except ListingInvalid as error:
            raise ObjectInvalid(error.message, **error.detail) from error
        names = [entry[0] for entry in files] + [entry[0] for entry in dirs]
        for name in names:
            check_name(name)
        if len(set(names)) != len(names):
            raise ObjectInvalid("dirtree names an entry twice")
        return cls(files, dirs)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. timestamp: UTC seconds; parent: raw checksum or None; metadata: key -> Variant, in stored order."""

    metadata: dict[str, gvariant.Variant]
    parent: bytes | None
    related: tuple[tuple[str, bytes], ...]
    subject: str
    body: str
    timestamp: int
    root_tree: bytes
    root_meta: bytes

    def encode(self) -> bytes:
        fields: tuple[Any, ...] = (
            self.metadata,
            self.parent or b"",
            self.related,
            self.subject,
            self.body,
            swap64(self.timestamp),
            self.root_tree,
            self.root_meta,
        )
        return gvariant.encode(COMMIT, fields)

    @classmethod
    def decode(cls, data: bytes) -> Commit:
        """Raises NotNormal or ObjectInvalid."""
        metadata, parent, related, subject, body, timestamp, tree, meta = gvariant.decode(COMMIT, data)
        if parent:
            _check_length(parent)
        _check_length(tree)
        _check_length(meta)
        return cls(metadata, parent or None, related, subject, body, swap64(timestamp), tree, meta)


def checksum_file(header: FileHeader, chunks: Iterable[bytes]) -> bytes:
    """Checksum of a file object: sha256 of prefix and bytes."""
    hasher = hashlib.sha256(header.prefix())
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()


def check_metadata(name: ObjectName, data: bytes) -> None:
    """Raise DigestMismatch unless `data` is the dirtree, dirmeta or commit of that name."""
    found = hashlib.sha256(data).digest()
    if found != name.checksum:
        raise DigestMismatch("object does not match its name", expected=str(name), found=found.hex())


def check_name(name: str) -> None:
    """Raise ObjectInvalid for a file name that is empty, leaves its directory, or holds a slash."""
    if name in ("", ".", "..") or "/" in name:
        raise ObjectInvalid("dirtree has an unusable name", name=name[:200])


def check_xattr_names(xattrs: Xattrs) -> None:
    """Raise ObjectInvalid unless names end with NUL and are not empty."""
    if any(len(name) < 2 or name[-1] or b"\0" in name[:-1] for name, _ in xattrs):
        raise ObjectInvalid("xattr name is empty or not terminated")


def check_xattrs(xattrs: Xattrs) -> None:
    """Those of a file: sorted, too, and unique, for no file system would give them back otherwise."""
    check_xattr_names(xattrs)
    names = [name for name, _ in xattrs]
    if any(later <= earlier for earlier, later in zip(names, names[1:], strict=False)):
        raise ObjectInvalid("xattrs are not sorted or repeat")


def _check_length(checksum: bytes) -> None:
    if len(checksum) != CHECKSUM_SIZE:
        raise ObjectInvalid("checksum is not 32 bytes", length=len(checksum))


def swap32(value: int) -> int:
    """Between a number and its big-endian form inside a little-endian container."""
    return int.from_bytes(value.to_bytes(4, "little"), "big")


def swap64(value: int) -> int:
    """As swap32, for `t`."""
    return int.from_bytes(value.to_bytes(8, "little"), "big")
