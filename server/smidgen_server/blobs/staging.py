"""Bytes on their way into a store: an unnamed or temporary file, hashed while it is written."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from smidgen_deltas.digest import LENGTHS, Digest
from smidgen_deltas.errors import DigestMismatch, UsageError
from smidgen_server.blobs.base import BLOCK, StorageFailed, StorageFull

SWEEP_SECONDS: Final = 3600
MODE: Final = 0o644  # a web server in front may read the files itself
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn OSError into StorageFull or StorageFailed."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise StorageFull("no space left for blobs", reason=reason) from error
        raise StorageFailed("the blob directory failed", reason=reason, path=str(error.filename or "")) from error


class Staging:
    """A file below `directory` that vanishes unless it is linked somewhere. Owns a file descriptor.

    O_TMPFILE where the file system has it: then there is no name that a crash could leave behind. Elsewhere a file
    `tmp-<random>`, swept at the next start (`sweep`).
    """

    def __init__(self, directory: Path, algorithm: str) -> None:
        if algorithm not in LENGTHS:
            raise UsageError("unknown digest algorithm", algorithm=algorithm[:40])
        self.path: Path | None = None
        self.size = 0
        self._hash = hashlib.new(algorithm)
        with storage_errors():
            self.fd = self._open(directory)

    def _open(self, directory: Path) -> int:
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, MODE)
        except OSError as error:
            if error.errno not in _NO_TMPFILE or not directory.is_dir():
                raise
        self.path = directory / f"tmp-{token_hex(12)}"
        return os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, MODE)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self._hash.update(view)
        with storage_errors():
            while view:
                done = os.write(self.fd, view)
                self.size += done
                view = view[done:]

    def verify(self, expected: Digest | None, algorithm: str | None) -> Digest:
        """The digest of what was written. Raises DigestMismatch when it is not the expected one."""
        wanted = expected.algorithm if expected else (algorithm or self._hash.name)
        found = Digest(wanted, self._hexdigest(wanted))
        if expected is not None and found != expected:
            raise DigestMismatch("content does not match its digest", expected=str(expected), found=str(found))
        return found

    def _hexdigest(self, algorithm: str) -> str:
        if algorithm == self._hash.name:
            return self._hash.hexdigest()
        if algorithm not in LENGTHS:
            raise UsageError("unknown digest algorithm", algorithm=algorithm[:40])
        digest, offset = hashlib.new(algorithm), 0
        while block := os.pread(self.fd, BLOCK, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()

    def link(self, target: Path) -> None:
        """Give the file its name; FileExistsError when the name is taken. The bytes must be synced before."""
        if self.path is not None:
            os.link(self.path, target)
            return
        here = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # with a directory descriptor Python calls linkat(AT_SYMLINK_FOLLOW), which is what names an O_TMPFILE
            os.link(str(self.fd), target, src_dir_fd=here, follow_symlinks=True)
        finally:
            os.close(here)

    def close(self) -> None:
        os.close(self.fd)
        if self.path is not None:
            with suppress(FileNotFoundError):
                self.path.unlink()


def sweep(directory: Path) -> None:
    """Remove what a crash left behind; files written to of late may be another process's."""
    oldest = time.time() - SWEEP_SECONDS
    for path in directory.glob("tmp-*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
