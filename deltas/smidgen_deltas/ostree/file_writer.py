"""How a file object is put on disk in each mode of repository.

Every function writes one temporary file or symlink in a given folder and hashes the content on the way; naming it for
good is the caller's business, after the checksum was compared.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import DigestMismatch, SizeMismatch, UnsupportedFeature
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.bare_header import OSTREEMETA
from smidgen_deltas.ostree.filez import DEFAULT_LEVEL, write_filez
from smidgen_deltas.ostree.objects import FileHeader, swap32

USER_ONLY_BITS: Final = 0o775
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Writer = Callable[[Path, bytes, FileHeader, int, Iterable[bytes]], None]


class NotRepresentable(UnsupportedFeature):
    """The object cannot be kept in a repository of this mode without losing its identity."""

    hint = "Pull into a repository of another mode: bare-user keeps owners and xattrs without being root."


def checked(checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass `chunks` on; raise at the end unless they are `size` bytes and make the object `checksum`."""
    hasher = hashlib.sha256(header.prefix())
    done = 0
    for chunk in chunks:
        hasher.update(chunk)
        done += len(chunk)
        if done > size:
            break
        yield chunk
    if done != size:
        raise SizeMismatch("file object has the wrong size", object=checksum.hex(), expected=size, found=done)
    if hasher.digest() != checksum:
        raise DigestMismatch("file object does not match its name", expected=checksum.hex(), found=hasher.hexdigest())


def write_archive(path: Path, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None:
    """`.filez`, deflate level 6."""
    stream = checked(checksum, header, size, chunks)
    _write(path, write_filez(header, size, stream, DEFAULT_LEVEL), 0o644)
    if header.is_symlink:
        _drain(stream)


def write_bare(path: Path, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None:
    """The real file: owner, mode, xattrs on disk; mtime 0. Owners other than one's own take root.

    The order matters: a change of owner drops file capabilities, and `user.` xattrs can only be set while the owner
    may write to the file.
    """
    stream = checked(checksum, header, size, chunks)
    if header.is_symlink:
        _drain(stream)
        path.symlink_to(header.target)
    else:
        _write(path, stream, 0o600)
    status = path.lstat()
    if (status.st_uid, status.st_gid) != (header.uid, header.gid):
        os.chown(path, header.uid, header.gid, follow_symlinks=False)
    for name, value in header.xattrs:
        os.setxattr(path, name.rstrip(b"\0"), value, follow_symlinks=False)
    if not header.is_symlink:
        path.chmod(stat.S_IMODE(header.mode))
    os.utime(path, (0, 0), follow_symlinks=False)


def write_bare_user(path: Path, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None:
    """Content in a file of one's own; owner, mode and xattrs in `user.ostreemeta`; symlinks as files."""
    stream = checked(checksum, header, size, chunks)
    if header.is_symlink:
        _drain(stream)
        _write(path, [header.target.encode() + b"\0"], 0o644)
    else:
        _write(path, stream, 0o600)
    meta = (swap32(header.uid), swap32(header.gid), swap32(header.mode), header.xattrs)
    os.setxattr(path, OSTREEMETA, gvariant.encode("(uuua(ayay))", meta))
    path.chmod(0o644 if header.is_symlink else header.mode & USER_ONLY_BITS | 0o400)
    os.utime(path, (0, 0))


def write_bare_user_only(path: Path, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None:
    """Content and permission bits only. Raises NotRepresentable where that would not be the same object."""
    extra = 0 if header.is_symlink else stat.S_IMODE(header.mode) & ~USER_ONLY_BITS
    if header.uid or header.gid or header.xattrs or extra:
        raise NotRepresentable(
            "a bare-user-only repository cannot hold this object",
            object=checksum.hex(),
            owner=f"{header.uid}:{header.gid}",
            mode=oct(header.mode),
            xattrs=len(header.xattrs),
        )
    stream = checked(checksum, header, size, chunks)
    if header.is_symlink:
        _drain(stream)
        path.symlink_to(header.target)
    else:
        _write(path, stream, 0o600)
        path.chmod(stat.S_IMODE(header.mode))
    os.utime(path, (0, 0), follow_symlinks=False)


WRITERS: Final[dict[str, Writer]] = {
    "archive": write_archive,
    "bare": write_bare,
    "bare-user": write_bare_user,
    "bare-user-only": write_bare_user_only,
}


def _write(path: Path, chunks: Iterable[bytes], mode: int) -> None:
    with os.fdopen(os.open(path, _FLAGS, mode), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
    if mode != 0o600:
        path.chmod(mode)


def _drain(stream: Iterator[bytes]) -> None:
    """Run a stream that must be empty to its end, for its checks."""
    for _ in stream:
        pass
