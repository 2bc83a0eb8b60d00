"""Answers made of blobs: HEAD, one range, ETag, 304, caching for good, and delegation of bulk bytes.

Bytes are sent by, in this order: nginx (X-Accel-Redirect, `accel_prefix`), the bucket (307 to a presigned URL,
`blobs.redirect`), this process. The first two are for whole blobs in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from smidgen_deltas.digest import Digest
from smidgen_server.api.ranges import Range, unchanged, wanted_range
from smidgen_server.blobs.base import BlobReader
from smidgen_server.services.container import Services

FOREVER: Final = "max-age=31536000, immutable"
AT_ONCE: Final = 1 << 18  # answers up to this many bytes are read where the endpoint runs, without further hops
OCTETS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `start + length` of a blob."""

    digest: Digest
    start: int
    length: int


Part = bytes | Span


def blob_response(
    request: Request,
    services: Services,
    digest: Digest,
    *,
    media_type: str = OCTETS,
    headers: Mapping[str, str] | None = None,
    cache: str | None = None,
) -> Response:
    """A whole blob, or the range of it that is asked for. Call it off the event loop. Raises BlobUnknown.

    Args:
        cache: Cache-Control; by default for good, shared caches included when the request carried no credentials.
    """
    size = services.blobs.stat(digest).size
    fixed = _headers(request, f'"{digest}"', media_type, headers, cache)
    if unchanged(request.headers, fixed["ETag"]):
        return Response(status_code=304, headers=_not_modified(fixed))
    if request.method == "GET" and (elsewhere := _delegate(request, services, digest, fixed)):
        return elsewhere
    return _answer(request, services.blobs, [Span(digest, 0, size)], fixed)


def parts_response(
    request: Request,
    services: Services,
    parts: Sequence[Part],
    *,
    etag: str,
    media_type: str = OCTETS,
    headers: Mapping[str, str] | None = None,
    cache: str | None = None,
) -> Response:
    """Bytes and spans of blobs, one after the other, with the same rules. Call it off the event loop.

    Args:
        etag: what names these bytes, without quotes.
    """
    fixed = _headers(request, f'"{etag}"', media_type, headers, cache)
    if unchanged(request.headers, fixed["ETag"]):
        return Response(status_code=304, headers=_not_modified(fixed))
    return _answer(request, services.blobs, parts, fixed)


def _answer(request: Request, blobs: BlobReader, parts: Sequence[Part], headers: dict[str, str]) -> Response:
    size = sum(_size(part) for part in parts)
    asked = wanted_range(request.headers, size, headers["ETag"]) if request.method == "GET" else None
    status, sent = (206, asked) if asked else (200, Range(0, size))
    if asked:
        headers["Content-Range"] = f"bytes {asked.start}-{asked.start + asked.length - 1}/{size}"
    headers["Content-Length"] = str(sent.length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chosen = _cut(parts, sent)
    if sent.length <= AT_ONCE:
        return Response(b"".join(_read(blobs, chosen)), status, headers)
    return _Streamed(_read(blobs, chosen), status, headers)


def _headers(
    request: Request, etag: str, media_type: str, more: Mapping[str, str] | None, cache: str | None
) -> dict[str, str]:
    shared = "private" if "authorization" in request.headers else "public"
    return {
        "Content-Type": media_type,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": cache or f"{shared}, {FOREVER}",
        **(more or {}),
    }


def _not_modified(headers: dict[str, str]) -> dict[str, str]:
    """RFC 9110 section 15.4.5."""
    return {name: headers[name] for name in ("ETag", "Cache-Control")}


def _delegate(request: Request, services: Services, digest: Digest, headers: dict[str, str]) -> Response | None:
    settings = services.settings
    if settings.accel_prefix and "if-range" not in request.headers and settings.blobs.url is None:
        path = f"{settings.accel_prefix}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"
        kept = {name: value for name, value in headers.items() if name != "Accept-Ranges"}  # nginx says so itself
        return Response(headers={**kept, "X-Accel-Redirect": path})
    if settings.blobs.redirect and (url := services.blobs.presign(digest)):
        return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
    return None


def _size(part: Part) -> int:
    return part.length if isinstance(part, Span) else len(part)


def _cut(parts: Sequence[Part], asked: Range) -> list[Part]:
    """Those parts, and pieces of parts, that lie in the range."""
    chosen: list[Part] = []
    at, end = 0, asked.start + asked.length
    for part in parts:
        first, last = max(asked.start - at, 0), min(end - at, _size(part))
        if first < last:
            chosen.append(
                Span(part.digest, part.start + first, last - first) if isinstance(part, Span) else part[first:last]
            )
        at += _size(part)
    return chosen


def _read(blobs: BlobReader, parts: Sequence[Part]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        with blobs.open(part.digest, part.start, part.length) as blocks:
            yield from blocks


class _Streamed(Response):
    """Sends blocks as fast as the client takes them; stops reading when it is gone."""

    def __init__(self, blocks: Iterator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            while not gone.done() and (block := await run_in_threadpool(next, self._blocks, b"")):
                await send({"type": "http.response.body", "body": block, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            close = getattr(self._blocks, "close", None)
            if close is not None:
                await run_in_threadpool(close)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
