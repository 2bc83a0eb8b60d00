"""Mapped files that are let go of now and then.

What was read of a mapped file counts as memory of this process until the kernel wants it back. We are better off
without: whole systems are read when deltas are made, large files when they are applied, and each byte rarely.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable
from typing import Final

from smidgen_deltas.engine.sources import Buffer

STEP: Final = 32 << 20  # bytes read until the next time


class Pages:
    """Some mapped files, read by several threads."""

    def __init__(self, files: Iterable[Buffer], step: int = STEP) -> None:
        """files: those that are not mapped are of no interest."""
        held = [file.obj if isinstance(file, memoryview) else file for file in files]
        self._maps = [file for file in held if isinstance(file, mmap.mmap)]
        self._step = step
        self._read = 0
        self._lock = threading.Lock()

    def passed(self, size: int) -> None:
        """About so many bytes were read. What is in use by others meanwhile is mapped again as they go on."""
        with self._lock:
            self._read += size
            if self._read < self._step:
                return
            self._read = 0
        for one in self._maps:
            one.madvise(mmap.MADV_DONTNEED)
