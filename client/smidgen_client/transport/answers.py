"""Turning HTTP statuses and library errors into errors of ours, in one place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

from smidgen_client.transport.retry import RETRIED_STATUS, parse_retry_after
from smidgen_deltas.errors import BlobUnknown, Denied, NotFound, SmidgenError, TransportError, Unauthorized, UsageError
from smidgen_deltas.login import shown

MAX_ERROR_BODY: Final = 4096
RANGE_REFUSED: Final = frozenset({400, 416, 501})


class ShortBody(TransportError):
    """The connection ended before all promised bytes were there."""


class Retryable(TransportError):
    """The request may be tried again. `retry_after` in seconds where the server named it."""

    def __init__(self, message: str, *, retry_after: float | None = None, **detail: object) -> None:
        super().__init__(message, **detail)
        self.retry_after = retry_after


class RangeRefused(TransportError):
    """The server cannot serve ranges of this blob; ask for the whole."""


@contextmanager
def library_errors(url: str) -> Iterator[None]:
    """httpx2's errors -> TransportError."""
    try:
        yield
    except httpx2.InvalidURL as error:
        raise UsageError("not a usable URL", url=shown(url), reason=str(error)) from error
    except (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
        raise UsageError("the server cannot be reached in this way", url=shown(url), reason=str(error)) from error
    except httpx2.TimeoutException as error:
        raise Retryable("the server stopped sending", url=shown(url), reason=type(error).__name__) from error
    except httpx2.RemoteProtocolError as error:
        raise ShortBody("the answer broke off", url=shown(url), reason=str(error)[:200]) from error
    except httpx2.HTTPError as error:
        raise Retryable("the connection failed", url=shown(url), reason=str(error)[:200]) from error


def refuse(answer: httpx2.Response, *, ranged: bool, blob: bool) -> None:
    """Raise what a status other than 200, 206, 304 means."""
    status = answer.status_code
    if status in (200, 206, 304):
        return
    detail: dict[str, object] = {"status": status, "url": shown(str(answer.url))}
    if said := _said(answer):
        detail["server"] = said
    if status in RETRIED_STATUS:
        raise Retryable("the server is busy or failed", retry_after=parse_retry_after(answer.headers), **detail)
    if ranged and status in RANGE_REFUSED:
        raise RangeRefused("the server refuses ranges", **detail)
    raise _error_of(status, blob=blob)("the server refused the request", **detail)


def _error_of(status: int, *, blob: bool) -> type[SmidgenError]:
    if status in (404, 410):
        return BlobUnknown if blob else NotFound
    return {401: Unauthorized, 403: Denied}.get(status, TransportError)


def _said(answer: httpx2.Response) -> str:
    """The server's own words, where it sent some."""
    body = b""
    try:
        for block in answer.iter_raw(MAX_ERROR_BODY):
            body += block
            if len(body) >= MAX_ERROR_BODY:
                break
    except httpx2.HTTPError:
        return ""
    try:
        found = json.loads(body[:MAX_ERROR_BODY])
        error = found["errors"][0] if "errors" in found else found["error"]
        return str(error["message"])[:300]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
