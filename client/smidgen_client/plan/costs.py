"""What a way of getting an update costs, in bytes, requests and work, and what that is worth on a link. Pure.

Work is counted in seconds of one core of a present-day machine (measured on a two-core x86-64 server, debian12: 0.76 GB
in 18,000 files). A slower device is wrong by the same factor everywhere, which changes the choice only near a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNPACK_RATE: Final = 150e6  # bytes/s of contents: decoded, hashed, written
COPY_RATE: Final = 300e6  # the same for what is on this device already
STORE_RATE: Final = 500e6  # bytes/s of a whole blob: hashed, written
BUILD_RATE: Final = 400e6  # bytes/s of a tar that is put together: hashed as a whole once more
PER_CONTENT: Final = 150e-6  # seconds for a file of its own
APPLY_RATE: Final = 60e6  # bytes/s rebuilt from a delta, beside what is encoded again


@dataclass(frozen=True, slots=True)
class Bill:
    """bytes to fetch, requests to make, seconds of one core to spend."""

    bytes: int = 0
    requests: int = 0
    cpu: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        return Bill(self.bytes + other.bytes, self.requests + other.requests, self.cpu + other.cpu)


@dataclass(frozen=True, slots=True)
class Link:
    """bandwidth in bytes per second, round_trip in seconds; 0 where unknown."""

    bandwidth: float = 0.0
    round_trip: float = 0.0

    @property
    def known(self) -> bool:
        return self.bandwidth > 0

    def seconds(self, bill: Bill, cores: int) -> float:
        """How long a bill takes, nothing overlapping; 0 on an unknown link. Fetching nothing needs no link."""
        if not self.known and bill.bytes:
            return 0.0
        carried = bill.bytes / self.bandwidth if bill.bytes else 0.0
        return carried + bill.requests * self.round_trip + bill.cpu / cores


@dataclass(frozen=True, slots=True)
class Prices:
    """What a byte, a request and a second of a core are worth, all in one unit of the chooser's."""

    byte: float = 1.0
    request: float = 0.0
    cpu: float = 0.0

    def of(self, bill: Bill) -> float:
        return bill.bytes * self.byte + bill.requests * self.request + bill.cpu * self.cpu

    @classmethod
    def fewest_bytes(cls, request_cost: int) -> Prices:
        """A request is worth so many bytes, work nothing."""
        return cls(1.0, request_cost, 0.0)

    @classmethod
    def least_time(cls, link: Link, cores: int) -> Prices:
        """In seconds; the link must be known."""
        return cls(1 / link.bandwidth, link.round_trip, 1 / cores)


def unpacking(size: int, count: int) -> float:
    """Seconds for `count` contents of `size` bytes together that come from packs."""
    return size / UNPACK_RATE + count * PER_CONTENT


def copying(size: int, count: int) -> float:
    """Seconds for contents that come from another store of this device."""
    return size / COPY_RATE + count * PER_CONTENT


def applying(size: int, work: int) -> float:
    """Seconds for a delta that rebuilds `size` bytes, with `work` milliseconds of encoding again."""
    return size / APPLY_RATE + work / 1000
