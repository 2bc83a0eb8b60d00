"""What the link is like, learned from what was fetched anyway."""

from __future__ import annotations

import threading
from typing import Final

ENOUGH: Final = 128 << 10  # a body of fewer bytes says little about bandwidth


class Link:
    """Smallest time to an answer, in seconds, and bytes per second of the larger bodies; 0 while unknown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latency = 0.0
        self._bytes, self._seconds = 0, 0.0

    def answered(self, seconds: float) -> None:
        """An answer's headers came after `seconds`."""
        with self._lock:
            self._latency = min(self._latency, seconds) if self._latency else seconds

    def carried(self, count: int, seconds: float) -> None:
        """A body of `count` bytes took `seconds`."""
        if count >= ENOUGH:
            with self._lock:
                self._bytes += count
                self._seconds += seconds

    @property
    def latency(self) -> float:
        return self._latency

    @property
    def bandwidth(self) -> float:
        with self._lock:
            return self._bytes / self._seconds if self._seconds else 0.0
