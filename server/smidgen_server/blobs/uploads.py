"""Resumable uploads: bytes that arrive in pieces, possibly over hours and over restarts of the server.

<root>/<id>     the bytes so far; the file's length is the offset to go on from
An id is 32 random hex digits and is all that a client needs to hold; 16 more bind it to its owner, the repository that
it was begun for: under another one's path it does not exist. The running hash lives in memory and is computed
again from the file when it is not there (after a restart). One writer at a time holds the file's lock; another one is
a Conflict. On a bucket the bytes are staged here too and sent in parts when the upload is finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from smidgen_deltas.digest import LENGTHS, Digest
from smidgen_deltas.errors import Conflict, DigestMismatch, LimitExceeded, NotFound, UsageError
from smidgen_server.blobs.base import BLOCK, BlobStore
from smidgen_server.blobs.staging import MODE, storage_errors

REMEMBERED: Final = 64  # running hashes kept in memory
_ID: Final = re.compile(r"([0-9a-f]{32})([0-9a-f]{16})\Z")


class UploadUnknown(NotFound):
    """No such upload: never begun, finished, cancelled or expired."""

    code = "BLOB_UPLOAD_UNKNOWN"


class UploadOffset(LimitExceeded):
    """A piece does not begin where the last one ended. Detail has both offsets."""

    code, status = "BLOB_UPLOAD_INVALID", 416
    hint = "Ask for the state of the upload and go on from there."


@dataclass(slots=True)
class _Hash:
    algorithm: str
    offset: int
    running: Any


class Uploads:
    """Upload sessions below one directory. Thread-safe."""

    def __init__(self, root: Path, store: BlobStore, expiry: float, limit: int) -> None:
        """
        Args:
            expiry: an upload untouched for so many seconds may be dropped by `expire`.
            limit: most bytes of one upload.
        """
        self._root, self._store, self._expiry, self._limit = root, store, expiry, limit
        self._lock = threading.Lock()
        self._hashes: OrderedDict[str, _Hash] = OrderedDict()
        with storage_errors():
            root.mkdir(parents=True, exist_ok=True)

    def create(self, algorithm: str = "sha256", owner: str = "") -> str:
        """Begin an upload for `owner`; returns its id. `algorithm` is what will be hashed while writing."""
        if algorithm not in LENGTHS:
            raise UsageError("unknown digest algorithm", algorithm=algorithm[:40])
        nonce = token_hex(16)
        identity = nonce + _binding(nonce, owner)
        with storage_errors():
            os.close(os.open(self._root / identity, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, MODE))
        self._keep(identity, _Hash(algorithm, 0, hashlib.new(algorithm)))
        return identity

    @staticmethod
    def require_owner(identity: str, owner: str) -> None:
        """Raises UploadUnknown when the upload was not begun for `owner`."""
        parts = _ID.match(identity)
        if parts is None or parts[2] != _binding(parts[1], owner):
            raise UploadUnknown("no such upload", upload=identity[:64])

    def offset(self, identity: str) -> int:
        """Bytes received so far. Raises UploadUnknown."""
        try:
            return self._path(identity).stat().st_size
        except FileNotFoundError:
            raise UploadUnknown("no such upload", upload=identity) from None

    @contextmanager
    def append(self, identity: str, offset: int | None = None) -> Iterator[UploadWriter]:
        """Write on at the end.

        Args:
            offset: where the piece begins, if the sender said so.
        Raises:
            UploadUnknown, UploadOffset; Conflict: another request is writing it.
        """
        with self._locked(identity) as fd:
            size = os.fstat(fd).st_size
            if offset is not None and offset != size:
                raise UploadOffset("the piece does not begin where the last one ended", offset=size, given=offset)
            writer = UploadWriter(fd, self._take(identity, fd, size), self._limit)
            try:
                yield writer
            finally:
                self._keep(identity, writer.state)

    def finish(self, identity: str, expected: Digest) -> int:
        """Verify and hand to the store; returns the size. A wrong upload is discarded.

        Raises:
            DigestMismatch, UploadUnknown, Conflict.
        """
        with self._locked(identity) as fd:
            size = os.fstat(fd).st_size
            state = self._take(identity, fd, size, expected.algorithm)
            found = Digest(expected.algorithm, state.running.hexdigest())
            if found != expected:
                self._path(identity).unlink()
                raise DigestMismatch("content does not match its digest", expected=str(expected), found=str(found))
            self._store.ingest(self._path(identity), expected)
            return size

    def cancel(self, identity: str) -> None:
        """Raises UploadUnknown, Conflict."""
        with self._locked(identity), self._lock:
            self._path(identity).unlink()
            self._hashes.pop(identity, None)

    def expire(self, now: float | None = None) -> int:
        """Drop uploads that nobody touched for long; returns how many."""
        oldest = (time.time() if now is None else now) - self._expiry
        dropped = 0
        for path in self._root.iterdir():
            try:
                if _ID.match(path.name) and path.stat().st_mtime < oldest:
                    self.cancel(path.name)
                    dropped += 1
            except (FileNotFoundError, UploadUnknown, Conflict):
                continue
        return dropped

    def _path(self, identity: str) -> Path:
        if not _ID.match(identity):
            raise UploadUnknown("no such upload", upload=identity[:64])
        return self._root / identity

    @contextmanager
    def _locked(self, identity: str) -> Iterator[int]:
        path = self._path(identity)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UploadUnknown("no such upload", upload=identity) from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("another request is writing this upload", upload=identity) from None
            if not _names(path, fd):  # finished or cancelled meanwhile; the bytes may be a blob by now
                raise UploadUnknown("no such upload", upload=identity)
            yield fd
        finally:
            os.close(fd)

    def _take(self, identity: str, fd: int, size: int, algorithm: str | None = None) -> _Hash:
        """The running hash of the first `size` bytes, from memory or from the file."""
        with self._lock:
            state = self._hashes.pop(identity, None)
        wanted = algorithm or (state.algorithm if state else "sha256")
        if state is not None and state.offset == size and state.algorithm == wanted:
            return state
        running, offset = hashlib.new(wanted), 0
        with storage_errors():
            while offset < size and (block := os.pread(fd, BLOCK, offset)):
                running.update(block)
                offset += len(block)
        return _Hash(wanted, offset, running)

    def _keep(self, identity: str, state: _Hash) -> None:
        with self._lock:
            self._hashes[identity] = state
            if len(self._hashes) > REMEMBERED:
                self._hashes.popitem(last=False)


class UploadWriter:
    """Appends to an upload. `offset` is where the next byte goes."""

    def __init__(self, fd: int, state: _Hash, limit: int) -> None:
        self._fd, self.state, self._limit = fd, state, limit

    @property
    def offset(self) -> int:
        return self.state.offset

    def write(self, data: bytes | memoryview) -> None:
        """Raises LimitExceeded, StorageFull, StorageFailed. What was written before stays."""
        view = memoryview(data)
        if self.state.offset + len(view) > self._limit:
            raise LimitExceeded("the upload is larger than allowed", limit=self._limit)
        with storage_errors():
            while view:
                done = os.write(self._fd, view)
                self.state.running.update(view[:done])
                self.state.offset += done
                view = view[done:]


def _binding(nonce: str, owner: str) -> str:
    return hashlib.sha256(f"{nonce} {owner}".encode()).hexdigest()[:16]


def _names(path: Path, fd: int) -> bool:
    """Whether the path still stands for the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
