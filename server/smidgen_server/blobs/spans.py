"""Reading small pieces of local blobs without leaving the thread: for answers that are a few kilobytes out of a large
file, where opening the file each time, or handing the read to another thread, costs more than the read.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_server.blobs.base import BlobReader

MAX_OPEN: Final = 32
MAX_AGE: Final = 30.0  # seconds; a blob that was deleted keeps its space no longer than this
MAX_SPAN: Final = 128 << 10  # bytes; what comes from the page cache in some tens of microseconds


@dataclass(frozen=True, slots=True)
class _Open:
    fd: int
    since: float


class SmallSpans:
    """Open files of local blobs. For one thread only (the event loop's)."""

    def __init__(self, blobs: BlobReader) -> None:
        self._blobs = blobs
        self._open: OrderedDict[Digest, _Open] = OrderedDict()

    def read(self, digest: Digest, start: int, length: int) -> bytes | None:
        """The bytes; None when there are too many of them, or the blob is not in a local file."""
        if length > MAX_SPAN:
            return None
        fd = self._descriptor(digest)
        if fd is None:
            return None
        data = os.pread(fd, length, start)
        return data if len(data) == length else None

    def close(self) -> None:
        while self._open:
            self._drop(next(iter(self._open)))

    def _descriptor(self, digest: Digest) -> int | None:
        found = self._open.get(digest)
        now = time.monotonic()
        if found is not None and found.since > now - MAX_AGE:
            self._open.move_to_end(digest)
            return found.fd
        if found is not None:
            self._drop(digest)
        path = self._blobs.local_path(digest)
        if path is None:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        self._open[digest] = _Open(fd, now)
        while len(self._open) > MAX_OPEN:
            self._drop(next(iter(self._open)))
        return fd

    def _drop(self, digest: Digest) -> None:
        os.close(self._open.pop(digest).fd)
