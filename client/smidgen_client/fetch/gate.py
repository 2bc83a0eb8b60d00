"""A bound on the memory of several workers together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryGate:
    """At most `limit` bytes held at once; who asks for more than the limit gets in alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait until `count` bytes are free and hold them for the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + count <= self._limit)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()
