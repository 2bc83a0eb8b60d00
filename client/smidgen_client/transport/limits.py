"""Limits on what a pull fetches: a budget of bytes, a rate, and the count of both.

The budget is asked *before* bytes are requested and again for bytes that came unasked, so that no byte beyond it is
read. All classes are used by several threads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from smidgen_client.transport.clock import Clock
from smidgen_deltas.errors import ByteBudgetExceeded


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was fetched so far: body bytes and requests (those that failed or were repeated included)."""

    bytes: int
    requests: int


class Meter:
    """Counts bytes and requests, and refuses what is over the budget.

    Args:
        max_bytes: most body bytes to fetch; None for no limit.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max = max_bytes
        self._bytes = self._requests = self._reserved = 0
        self._lock = threading.Lock()

    @property
    def traffic(self) -> Traffic:
        with self._lock:
            return Traffic(self._bytes, self._requests)

    @property
    def allowed(self) -> int | None:
        """Bytes that may still arrive, set aside or not; None for any number."""
        with self._lock:
            return None if self._max is None else max(self._max - self._bytes, 0)

    def allow_more(self, count: int) -> None:
        """From now on at most `count` further bytes, unless the budget is smaller anyway."""
        with self._lock:
            limit = self._bytes + self._reserved + count
            self._max = limit if self._max is None else min(self._max, limit)

    def check(self, count: int) -> None:
        """Raise ByteBudgetExceeded if `count` further bytes are over the budget."""
        with self._lock:
            self._check(count)

    def reserve(self, count: int) -> None:
        """Set `count` bytes aside for one request. Raises ByteBudgetExceeded when they are not left."""
        with self._lock:
            self._check(count)
            self._requests += 1
            self._reserved += count

    def received(self, count: int, *, reserved: int) -> None:
        """Count `count` bytes that arrived, `reserved` of which were set aside before."""
        with self._lock:
            self._reserved -= reserved
            self._check(count)
            self._bytes += count

    def release(self, reserved: int) -> None:
        """Give back what was set aside and did not arrive."""
        with self._lock:
            self._reserved -= reserved

    def _check(self, count: int) -> None:
        if self._max is not None and self._bytes + self._reserved + count > self._max:
            raise ByteBudgetExceeded(
                "going on would fetch more bytes than allowed", limit=self._max, fetched=self._bytes, wanted=count
            )


class RateLimit:
    """At most `rate` bytes a second on average, for all connections together; None for no limit.

    A debt model: each block may pass at once and the next has to wait until it is paid for, so no block is too big.
    """

    def __init__(self, rate: int | None, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def passed(self, count: int) -> None:
        """Wait as long as `count` bytes are worth."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock.now()
            start = max(self._free_at, now)
            self._free_at = start + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            self._clock.sleep(wait)
