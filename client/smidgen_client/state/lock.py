"""One pull at a time into one store: an flock on a file beside it, released by the kernel when the process dies.

A store that a failed pull would have begun is gone again with its lock, so whoever got the lock looks whether the file
is still the one at that path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import Conflict, StorageError

TRIES: Final = 1000  # to lock a file that others make and remove meanwhile


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock at `path` for the block. Raises Conflict when somebody else holds it and `wait` is not set.

    Folders that are made for the lock are removed again if the block fails and left nothing else in them.
    """
    new = [folder for folder in path.parents if not folder.exists()]
    handle = _locked(path, wait=wait)
    try:
        os.utime(handle)  # stock ostree removes old files from its tmp
        yield
    except BaseException:
        _remove(path, new)
        raise
    finally:
        os.close(handle)


def _locked(path: Path, *, wait: bool) -> int:
    """A handle of the file at `path`, locked."""
    for left in reversed(range(TRIES)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if left and isinstance(error, (FileNotFoundError, FileExistsError)):
                continue  # somebody's failure has just removed the folder, or does
            raise StorageError("the lock cannot be opened", path=str(path), reason=error.strerror) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            os.close(handle)
            raise Conflict("another smidgen works on this store (use --wait to wait for it)", lock=str(path)) from error
        if _is_at(handle, path):
            return handle
        os.close(handle)
    raise Conflict("the lock of this store comes and goes", lock=str(path))


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _remove(path: Path, folders: list[Path]) -> None:
    """Remove a lock that is held if nothing is beside it, and folders, deepest first, as far as they are empty."""
    with contextlib.suppress(OSError):
        if folders and set(path.parent.iterdir()) == {path}:
            path.unlink()
            for folder in folders:
                folder.rmdir()
