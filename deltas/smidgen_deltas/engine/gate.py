"""Memory that workers share: whoever needs much of it waits until others have given theirs back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SMALL: Final = 32 << 20  # bytes; what needs no more goes through at once


class Gate:
    """Lets work through while all of it together needs at most `limit` bytes; what needs more goes through alone.

    A thread that holds some must not ask for more: two of them could wait for each other.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """For as long as `size` bytes are in use."""
        if size <= SMALL:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size <= self._limit)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


OPEN: Final = Gate(1 << 62)  # nobody waits
