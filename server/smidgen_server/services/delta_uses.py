"""Counting how often deltas are fetched, without a write for each request."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from smidgen_deltas.digest import Digest

MOST: Final = 10_000  # different blobs between two looks; more are not counted


class Uses:
    """Fetches since the last look, by digest of the blob. Thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, digest: Digest) -> None:
        """A blob is being fetched from its first byte on; whether it is a delta is found out later."""
        key = str(digest)
        with self._lock:
            if key in self._counts or len(self._counts) < MOST:
                self._counts[key] += 1

    def take(self) -> Counter[str]:
        """What was counted; counting begins anew."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return counts


def begins(span: str | None) -> bool:
    """Whether a request with this Range header asks for the first byte: later spans are parts of the same fetch."""
    return span is None or span.startswith("bytes=0-")
