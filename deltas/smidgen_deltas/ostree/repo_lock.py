"""The lock of a local repository, as stock ostree takes it: a lock of the open file description (fcntl(2)) on `.lock`.

flock(2) would be a lock of its own that stock ostree cannot see. Writers of objects hold it shared, whoever prunes
holds it exclusively. The repository's config rules both sides: `[core] locking=false` switches it off, `lock-timeout-
secs` (30 unless told; -1 for ever) bounds the wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from typing import Final

from smidgen_deltas.errors import Conflict, FormatError
from smidgen_deltas.ostree.repo import Repository

DEFAULT_WAIT: Final = 30
_STEP: Final = 0.05  # the kernel cannot be told how long to wait
_FLOCK: Final = struct.Struct("@hhqqi4x")  # struct flock: type, whence, start, length (0: all of it), pid (must be 0)


class RepositoryBusy(Conflict):
    """Another program holds the repository's lock. Detail has how long it was waited for."""

    hint = "Wait until the other program (a pull, a commit, a prune) has ended, then try again."


@contextlib.contextmanager
def repository_lock(repository: Repository, *, exclusive: bool, wait: float | None = None) -> Iterator[None]:
    """Hold the lock for the block.

    Args:
        wait: seconds; None for what the repository's config says, negative for ever.
    Raises:
        RepositoryBusy: it was not free in time; FormatError: the config is wrong; OSError.
    """
    core = repository.config.sections.get("core", {})
    if core.get("locking", "true") == "false":
        yield
        return
    seconds = _configured(core) if wait is None else wait
    descriptor = os.open(repository.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
    try:
        _take(descriptor, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, seconds, repository)
        yield
    finally:
        os.close(descriptor)


def _configured(core: dict[str, str]) -> float:
    text = core.get("lock-timeout-secs", str(DEFAULT_WAIT))
    try:
        return int(text)
    except ValueError as error:
        raise FormatError("lock-timeout-secs of the repository is not a number", given=text[:40]) from error


def _take(descriptor: int, kind: int, seconds: float, repository: Repository) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
        except BlockingIOError:
            if seconds >= 0 and time.monotonic() >= deadline:
                raise RepositoryBusy(
                    "another program is at work on this repository", path=str(repository.path), waited=seconds
                ) from None
            time.sleep(_STEP)
        else:
            return
