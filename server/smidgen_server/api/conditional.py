"""If-Modified-Since as stock ostree sends it: with `UTC` in place of `GMT`."""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime

from starlette.datastructures import Headers


def http_date(seconds: int) -> str:
    """RFC 9110 section 5.6.7."""
    return formatdate(seconds, usegmt=True)


def not_modified_since(headers: Headers, modified: int) -> bool:
    """Whether If-Modified-Since alone decides for 304. If-None-Match, where given, counts instead (RFC 9110 section
    13.1.3); a date that cannot be read is ignored."""
    given = headers.get("if-modified-since")
    if given is None or "if-none-match" in headers:
        return False
    try:
        since = parsedate_to_datetime(given.strip().removesuffix("UTC") + "+0000" if given.endswith("UTC") else given)
    except ValueError:
        return False
    return since.tzinfo is not None and modified <= int(since.timestamp())
