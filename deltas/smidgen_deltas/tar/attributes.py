"""Owner, extended attributes, mode and time of what was just made, and what of it could not be set.

The order matters: changing the owner drops set-uid bits and capabilities; attributes of files that are not writable
cannot be set any more; everything changes the time.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.errors import TarLimit
from smidgen_deltas.tar.paths import show

MAX_ID: Final = (1 << 32) - 2  # the next one means "leave as it is" to chown(2)
MAX_EXAMPLES: Final = 100
SET_ID: Final = 0o6000
_UNSETTABLE: Final = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)


@dataclass(slots=True)
class Report:
    """What an extraction did.

    Attributes:
        made: number of entries by type.
        written: bytes of content.
        skipped: how often something was left out, by reason.
        examples: (reason, path), the first MAX_EXAMPLES.
    """

    made: Counter[str] = field(default_factory=Counter)
    written: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, reason: str, path: bytes) -> None:
        self.skipped[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((reason, show(path)))


@dataclass(frozen=True, slots=True)
class Attributes:
    """How far attributes are restored.

    Args:
        owner: set uid and gid as the entries say (needs root). Otherwise set-id bits are dropped from files: they
            would lend the rights of whoever extracts.
        xattrs: set extended attributes; those the file system or the kernel refuses are reported.
    """

    owner: bool
    xattrs: bool = True

    def to_handle(self, handle: int, entry: Entry, report: Report) -> None:
        """Set everything on an open file or directory."""
        if self.owner:
            check_ids(entry)
            os.fchown(handle, entry.uid, entry.gid)
        self._xattrs(entry, report, lambda name, value: os.setxattr(handle, name, value))
        os.fchmod(handle, self._mode(entry, report))
        os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))

    def to_name(self, parent: int, name: bytes, entry: Entry, report: Report) -> None:
        """Set everything on a node that cannot be opened: symlink, device, fifo. Links have no mode."""
        if self.owner:
            check_ids(entry)
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        path = b"/proc/self/fd/%d/%s" % (parent, name)
        self._xattrs(entry, report, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False))
        if not entry.linkname:
            os.chmod(name, self._mode(entry, report), dir_fd=parent)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _mode(self, entry: Entry, report: Report) -> int:
        if self.owner or not entry.mode & SET_ID:
            return entry.mode
        report.skip("set-id bits without ownership", entry.path)
        return entry.mode & ~SET_ID

    def _xattrs(self, entry: Entry, report: Report, setter: Callable[[bytes, bytes], None]) -> None:
        if not self.xattrs:
            return
        for name, value in entry.xattrs:
            try:
                setter(name, value)
            except OSError as error:
                if error.errno not in _UNSETTABLE:
                    raise
                report.skip(f"extended attribute {show(name)}: {os.strerror(error.errno)}", entry.path)


def check_ids(entry: Entry) -> None:
    """Raise TarLimit when an owner is not one that Linux can have."""
    if entry.uid > MAX_ID or entry.gid > MAX_ID:
        raise TarLimit("owner is out of range", path=show(entry.path), uid=entry.uid, gid=entry.gid, limit=MAX_ID)
