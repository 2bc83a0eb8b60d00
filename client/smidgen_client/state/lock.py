"""One pull at a time into one store: an flock on a file beside it, released by the kernel when the process dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smidgen_deltas.errors import Conflict, StorageError


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock at `path` for the block. Raises Conflict when somebody else holds it and `wait` is not set."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError("the lock cannot be opened", path=str(path), reason=error.strerror) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Conflict("another smidgen works on this store (use --wait to wait for it)", lock=str(path)) from error
        os.utime(handle)  # stock ostree removes old files from its tmp
        yield
    finally:
        os.close(handle)
