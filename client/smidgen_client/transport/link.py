"""What the link is like, learned from what was fetched anyway."""

from __future__ import annotations

import threading
from typing import Final

ENOUGH: Final = 128 << 10  # fewer bytes say little about bandwidth
BRIEF: Final = 0.1  # seconds; in a shorter time pauses of a busy machine weigh as much as the link
SHORTEST: Final = 1e-6  # seconds; a body that was there before it was asked for took no time that can be seen


class Link:
    """Smallest time to an answer, in seconds, and bytes per second of what came in bodies; 0 while unknown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latency = 0.0
        self._bytes, self._seconds = 0, 0.0

    def answered(self, seconds: float) -> None:
        """An answer's headers came after `seconds`."""
        with self._lock:
            self._latency = min(self._latency, seconds) if self._latency else seconds

    def carried(self, count: int, seconds: float) -> None:
        """`count` bytes of a body came after waiting for `seconds`."""
        with self._lock:
            self._bytes += count
            self._seconds += seconds

    @property
    def brief(self) -> bool:
        """Whether so little was measured that it is no reason to doubt what the link was like before."""
        return self._seconds < BRIEF

    @property
    def latency(self) -> float:
        return self._latency

    @property
    def bandwidth(self) -> float:
        with self._lock:
            return self._bytes / max(self._seconds, SHORTEST) if self._bytes >= ENOUGH else 0.0
