"""What a file of a bare repository says beside its bytes: from its inode, its xattrs, or `user.ostreemeta`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.filez import BLOCK
from smidgen_deltas.ostree.objects import FileHeader, ObjectInvalid, Xattrs, swap32

OSTREEMETA: Final = "user.ostreemeta"
MAX_TARGET: Final = 4096  # PATH_MAX of Linux
MAX_XATTRS: Final = 1 << 20


def read_bare_header(path: Path, status: os.stat_result, mode: str) -> FileHeader:
    """The header of an object in a repository of `mode`, any but archive.

    Args:
        status: of the path itself, symlinks not followed.
    Raises:
        ObjectInvalid: it is no object (a device, a target that is not UTF-8); FormatError, LimitExceeded; OSError.
    """
    if mode == "bare-user":
        return _user_header(path)
    target = _target(os.fsencode(path.readlink()), path) if stat.S_ISLNK(status.st_mode) else ""
    if mode == "bare-user-only":
        return FileHeader.checked(0, 0, status.st_mode, 0, target, ())
    xattrs = _split_xattrs(path) if mode == "bare-split-xattrs" else _xattrs(path)
    return FileHeader.checked(status.st_uid, status.st_gid, status.st_mode, 0, target, xattrs)


def _user_header(path: Path) -> FileHeader:
    try:
        data = os.getxattr(path, OSTREEMETA, follow_symlinks=False)
    except OSError as error:
        raise FormatError("object of a bare-user repository without user.ostreemeta", path=str(path)) from error
    uid, gid, mode, xattrs = gvariant.decode("(uuua(ayay))", data)
    target = ""
    if stat.S_ISLNK(swap32(mode)):
        target = _target(_bounded(path, MAX_TARGET + 1).rstrip(b"\0"), path)
    return FileHeader.checked(swap32(uid), swap32(gid), swap32(mode), 0, target, xattrs)


def _target(raw: bytes, path: Path) -> str:
    """A symlink's target; objects hold it as a string."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ObjectInvalid("symlink target is not UTF-8", path=str(path), offset=error.start) from error


def _split_xattrs(path: Path) -> Xattrs:
    found: Xattrs = gvariant.decode("a(ayay)", _bounded(path.with_suffix(".file-xattrs-link"), MAX_XATTRS))
    return found


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; never waits for the other end of a FIFO. Raises ObjectInvalid, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ObjectInvalid("object is not a regular file", path=str(path))
    return os.fdopen(descriptor, "rb", BLOCK)


def _bounded(path: Path, limit: int) -> bytes:
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LimitExceeded("part of an object is too long", path=str(path), limit=limit)
    return data


def _xattrs(path: Path) -> Xattrs:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        pairs = [(os.fsencode(name) + b"\0", os.getxattr(path, name, follow_symlinks=False)) for name in names]
    except OSError as error:
        if error.errno in (95, 1):  # a file system without them, or trusted.* without the right to see them
            return ()
        raise ObjectInvalid("xattrs cannot be read", path=str(path), reason=os.strerror(error.errno or 0)) from error
    return tuple(sorted(pairs))
