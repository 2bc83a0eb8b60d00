"""What an answer to a range request really is: RFC 9110 sections 14.4 and 15.3.7.

Servers and CDNs answer a range with 206 and other bytes, with 200 and everything, or with 400, 416 or 501; this
module only decides what the bytes that follow are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import TransportError

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z", re.ASCII)


class WrongRange(TransportError):
    """A 206 answer carries other bytes than were asked for."""


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `start` of a blob."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def header(self) -> str:
        """Value of the Range header."""
        return f"bytes={self.start}-{self.end - 1}"


def partial(headers: Mapping[str, str], asked: Span, size: int) -> Span:
    """The span that a 206 answer carries; it begins where asked and may be shorter.

    Args:
        size: of the whole blob as the reader knows it.
    Raises:
        WrongRange: no Content-Range, several parts, another start, more than asked for, or of another blob.
    """
    value = headers.get("content-range", "")
    match = _CONTENT_RANGE.match(value.strip())
    if match is None:
        kind = headers.get("content-type", "")
        raise WrongRange("206 without a usable Content-Range", content_range=value[:100], content_type=kind[:100])
    first, last = int(match[1]), int(match[2])
    total = size if match[3] == "*" else int(match[3])
    if first != asked.start or not first <= last < asked.end or total != size:
        raise WrongRange("206 with other bytes than asked for", asked=asked.header(), got=value[:100], size=size)
    return Span(first, last + 1 - first)
