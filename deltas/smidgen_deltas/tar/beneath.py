"""Names beneath a directory handle: looked up one component at a time, symlinks never followed.

A path cannot leave the tree this way, whatever links were planted in it before or are planted meanwhile: every
component is opened relative to the handle of the one above, with O_NOFOLLOW (the guarantee of openat2's RESOLVE_BENEATH
and RESOLVE_NO_SYMLINKS, which Python does not offer).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from types import TracebackType
from typing import Final

from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.paths import show

WORK_MODE: Final = 0o700  # of directories until their own mode is set
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DIRECTORY: Final = (errno.ENOTDIR, errno.ELOOP)


class Beneath:
    """Opens directories beneath `root`, whose handle stays the caller's. Keeps those on the latest path open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[bytes] = []
        self._handles: list[int] = []

    def __enter__(self) -> Beneath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    def forget(self) -> None:
        """Close what is kept open; needed when a directory on the latest path was replaced."""
        self._shorten(0)

    def _shorten(self, length: int) -> None:
        while len(self._handles) > length:
            os.close(self._handles.pop())
            self._names.pop()

    def directory(self, parts: tuple[bytes, ...], *, make: bool) -> int:
        """The handle of a directory, valid until the next call.

        Args:
            make: missing ones are made, with WORK_MODE.
        Raises:
            UnsafePath: a component is a symlink or no directory.
            FileNotFoundError: one is missing, and `make` is False.
        """
        common = 0
        while common < min(len(parts), len(self._names)) and parts[common] == self._names[common]:
            common += 1
        self._shorten(common)
        for name in parts[common:]:
            above = self._handles[-1] if self._handles else self._root
            self._handles.append(_open(above, name, parts, make=make))
            self._names.append(name)
        return self._handles[-1] if self._handles else self._root


def _open(above: int, name: bytes, parts: tuple[bytes, ...], *, make: bool) -> int:
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, WORK_MODE, dir_fd=above)
    try:
        return os.open(name, _OPEN, dir_fd=above)
    except OSError as error:
        if error.errno in _NO_DIRECTORY:
            raise UnsafePath("parent of a path is not a directory", path=show(b"/".join(parts))) from error
        raise


def is_directory(parent: int, name: bytes) -> bool:
    """Whether that name is a directory itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def remove(parent: int, name: bytes) -> None:
    """Remove whatever has that name, a directory with all below it; nothing happens when there is nothing."""
    with contextlib.suppress(FileNotFoundError):
        if is_directory(parent, name):
            shutil.rmtree(os.fsdecode(name), dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


def install(parent: int, temporary: bytes, name: bytes) -> None:
    """Give a finished file its name, in place of whatever has it. Both are in `parent`."""
    try:
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except (IsADirectoryError, NotADirectoryError, FileExistsError):
        remove(parent, name)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
