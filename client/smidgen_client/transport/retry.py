"""When to try again, and after how long.

Exponential backoff with full jitter (each wait is uniform between nothing and the step), so that devices which
failed together do not come back together. A server's Retry-After is a lower bound of the wait, with jitter on top.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from smidgen_client.transport.clock import Clock
from smidgen_deltas.errors import TransportError

RETRIED_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class ServerBusy(TransportError):
    """The server asks to come back later than this command is willing to wait. Detail has `retry_after`, seconds."""

    exit = 42
    hint = "Run the same command again after the named time; what was fetched is kept."


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Args:
        attempts: tries without progress in between, the first included.
        base, cap: seconds; the step doubles from base up to cap.
        patience: longest Retry-After in seconds that is waited for.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    patience: float = 300.0

    def delay(self, failures: int, retry_after: float | None, clock: Clock) -> float:
        """Seconds to wait after the `failures`-th failure in a row (from 1)."""
        step = min(self.cap, self.base * 2.0 ** (failures - 1))
        wait: float = step * clock.jitter()
        return wait if retry_after is None else retry_after + min(wait, 0.1 * retry_after)


class Attempts:
    """Counts failures in a row and waits between them.

    `failed` either returns after a wait, or raises the error it was given. `progressed` forgets earlier failures: a
    link that breaks every minute is slow, not broken.
    """

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy, self._clock = policy, clock
        self._failures = 0

    def progressed(self) -> None:
        self._failures = 0

    def failed(self, error: TransportError, retry_after: float | None = None) -> None:
        self._failures += 1
        if retry_after is not None and retry_after > self._policy.patience:
            raise ServerBusy("the server asks to come back later", retry_after=retry_after) from error
        if self._failures >= self._policy.attempts:
            raise error
        self._clock.sleep(self._policy.delay(self._failures, retry_after, self._clock))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, RFC 9110 section 10.2.3; None when missing or malformed, never negative."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())
