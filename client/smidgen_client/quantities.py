"""Sizes and speeds as people write them."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas.errors import UsageError

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[bB]?\Z")
_SPEED: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([kKMGT]?)(bit|B)(?:/?s)?\Z")
_POWERS: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """`500`, `10MB`, `1.5GiB` -> bytes."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise UsageError("a size is written like 500, 10MB or 1.5GiB", given=text[:50])
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2]])


def parse_rate(text: str) -> int:
    """A size that is at least one byte, for a second."""
    rate = parse_size(text)
    if not rate:
        raise UsageError("nothing can be fetched at a rate of 0", given=text[:50])
    return rate


def parse_speed(text: str) -> float:
    """`10Mbit`, `1.5Gbit`, `250kB` (a second) -> bytes per second."""
    match = _SPEED.match(text.strip())
    if match is None or not float(match[1]):
        raise UsageError("a speed is written like 10Mbit or 1.2MB (per second)", given=text[:50])
    return float(match[1]) * 1000.0 ** _POWERS[match[2]] / (8 if match[3] == "bit" else 1)
