"""Time as the transport sees it: can be replaced in tests, so that nothing sleeps there."""

from __future__ import annotations

import random
import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds, monotonic."""

    def sleep(self, seconds: float) -> None: ...

    def jitter(self) -> float:
        """A number in [0, 1), uniformly."""


class SystemClock:
    """The real one; a sleep ends early when `stop` is set, so that an abort does not wait for a server's delay."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = stop or threading.Event()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads load, hides nothing
