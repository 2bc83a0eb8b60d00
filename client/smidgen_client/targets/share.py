"""Files that a new version of a tree has in common with the one before.

A file is shared when its bytes were hashed just now and found to be right. Where the file system can (btrfs, XFS) the
new version gets a copy of its own that shares the blocks. Elsewhere a hard link is made, but only when every attribute
is the same too: the versions then have one inode, so versions are not to be edited in place (`smidgen verify` shows
it).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from smidgen_deltas.tar.attributes import Attributes, Report
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.pieces import Content

FICLONE: Final = 0x40049409
MAX_LINKS: Final = 30_000
LABELS: Final = frozenset({"security.selinux"})  # set by the kernel's policy, not by us


def has_content(path: bytes, content: Content) -> bool:
    """Whether a regular file has exactly these bytes; it is read and hashed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size != content.size:
            return False
        return hashlib.file_digest(file, "sha256").digest() == content.sha256


def can_clone(folder: Path) -> bool:
    """Whether files in `folder` can share blocks."""
    with tempfile.TemporaryFile(dir=folder) as old, tempfile.TemporaryFile(dir=folder) as new:
        old.write(b"x" * 4096)
        old.flush()
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:
            return False
    return True


class Sharing:
    """Gives new paths the files of old ones. attributes: as the rest of the tree gets them."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._clones = True

    def share(self, old: bytes, new: bytes, entry: Entry) -> bool:
        """Make `new` out of `old`; False when that is not safe here and the file has to be written."""
        return self._clone(old, new, entry) or self._link(old, new, entry)

    def _clone(self, old: bytes, new: bytes, entry: Entry) -> bool:
        if not self._clones:
            return False
        source = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.ioctl(target, FICLONE, source)
                self._attributes.to_handle(target, entry, Report())
            except OSError:
                self._clones = False
                os.unlink(new)  # noqa: PTH108 - bytes
                return False
            finally:
                os.close(target)
        finally:
            os.close(source)
        return True

    def _link(self, old: bytes, new: bytes, entry: Entry) -> bool:
        if not self._same(old, entry):
            return False
        try:
            os.link(old, new, follow_symlinks=False)
        except OSError:  # another file system, or too many links
            return False
        return True

    def _same(self, old: bytes, entry: Entry) -> bool:
        status = os.lstat(old)
        owner = (entry.uid, entry.gid) if self._attributes.owner else (os.geteuid(), os.getegid())
        mode = entry.mode if self._attributes.owner else entry.mode & ~0o6000
        return (
            (status.st_uid, status.st_gid) == owner
            and stat.S_IMODE(status.st_mode) == mode
            and status.st_mtime_ns == entry.mtime_ns
            and status.st_nlink < MAX_LINKS
            and not entry.xattrs
            and LABELS.issuperset(os.listxattr(old, follow_symlinks=False))
        )
