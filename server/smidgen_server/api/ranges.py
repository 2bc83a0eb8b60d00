"""Range and conditional requests: RFC 9110 sections 13 and 14, and what distribution-spec's conformance suite adds.

One range only: a request for several is answered with the whole (RFC 9110 section 14.2 allows it), so that no request
makes the server send a byte twice. Units other than bytes and malformed headers are ignored. A range that ends before
it starts is a 416 rather than ignored, which is what registry clients expect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from smidgen_server.blobs.base import RangeInvalid

_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Range:
    """`length` bytes from `start`; never empty."""

    start: int
    length: int


def wanted_range(headers: Headers, size: int, etag: str) -> Range | None:
    """The range that a GET asks for; None for the whole. Raises RangeInvalid where no byte of it exists."""
    value = headers.get("range")
    if value is None or not _if_range(headers, etag):
        return None
    match = _RANGE.match(value)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    if start >= end:
        raise RangeInvalid("no such bytes", size=size, range=value[:100])
    return Range(start, end - start)


def unchanged(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match names this entity: the answer is then 304."""
    value = headers.get("if-none-match")
    if value is None:
        return False
    given = (one.strip().removeprefix("W/") for one in value.split(","))
    return value.strip() == "*" or etag in given


def _if_range(headers: Headers, etag: str) -> bool:
    value = headers.get("if-range")
    return value is None or value.strip() == etag
