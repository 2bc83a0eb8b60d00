"""Reading from a remote web server: bounded, retried, never trusting.

Every request is tried TRIES times with growing, jittered pauses on broken connections, 408, 429 and 5xx; a body that
is shorter than announced counts as a broken connection. 404, 403 and 410 mean "not there", as for stock ostree
clients. What comes back is hashed by the caller.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx2

from smidgen_deltas.errors import (
    FormatError,
    IntegrityError,
    LimitExceeded,
    NotFound,
    TransportError,
    UnsupportedFeature,
    UsageError,
)
from smidgen_deltas.login import Address, shown

TRIES: Final = 5
TIMEOUT: Final = httpx2.Timeout(30.0, connect=15.0)
BLOCK: Final = 1 << 16
_ABSENT: Final = frozenset({403, 404, 410})
_AGAIN: Final = frozenset({408, 425, 429})
MAX_PAUSE: Final = 20.0
Result = TypeVar("Result")


class RemoteMissing(NotFound):
    """The remote does not have something that it must have."""

    status, hint = 502, "Check the address; the remote repository may be incomplete or about to change."


class Body:
    """The body of one answer, read in pieces."""

    def __init__(self, blocks: Iterator[bytes], url: str) -> None:
        self._blocks, self._url, self._left = blocks, url, b""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end. Raises TransportError."""
        while not self._left:
            try:
                self._left = next(self._blocks, b"")
            except httpx2.HTTPError as error:
                raise TransportError("the connection broke", url=self._url, reason=str(error)) from error
            if not self._left:
                return b""
        piece, self._left = self._left[:size], self._left[size:]
        return piece

    def whole(self, limit: int) -> bytes:
        """Everything, at most `limit` bytes. Raises TransportError, LimitExceeded."""
        out = bytearray()
        while piece := self.read(BLOCK):
            out += piece
            if len(out) > limit:
                raise LimitExceeded("the remote's file is too large", url=self._url, limit=limit)
        return bytes(out)


class Remote:
    """Files below one base URL. Thread-safe; close it, or use it in `with`.

    Args:
        stopping: set to end pauses at once and give up.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 8,
        pause: float = 0.5,
        stopping: threading.Event | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError("a remote repository has an http:// or https:// address", url=shown(url))
        address = Address.parse(url)
        self._base = address.url.rstrip("/") + "/"
        self._pause = pause
        self._stopping = stopping or threading.Event()
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {"User-Agent": "smidgen-server", "Accept-Encoding": "identity"}
        self._client = httpx2.Client(
            auth=address.login, follow_redirects=True, timeout=TIMEOUT, limits=limits, headers=headers
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def optional(self, path: str, limit: int) -> bytes | None:
        """A small file, or None where there is none. Raises TransportError, LimitExceeded."""
        try:
            return self.fetch(path, lambda body: body.whole(limit))
        except RemoteMissing:
            return None

    def required(self, path: str, limit: int) -> bytes:
        """A small file. Raises RemoteMissing, TransportError, LimitExceeded."""
        return self.fetch(path, lambda body: body.whole(limit))

    def fetch(self, path: str, use: Callable[[Body], Result]) -> Result:
        """Give the body to `use`; when the connection breaks, or the bytes are wrong, start over.

        Raises what `use` raises on the last try, RemoteMissing or TransportError.
        """
        for number in range(TRIES):
            try:
                with self._open(path) as body:
                    return use(body)
            except (TransportError, IntegrityError, FormatError) as error:
                if number == TRIES - 1 or isinstance(error, UnsupportedFeature):
                    raise
                pause = min(self._pause * 2**number, MAX_PAUSE) * random.uniform(0.5, 1.5)
                if self._stopping.wait(pause):
                    raise TransportError("gave up", url=self._base + path) from error
        raise AssertionError("unreachable")

    @contextmanager
    def _open(self, path: str) -> Iterator[Body]:
        url = self._base + path
        try:
            with self._client.stream("GET", url) as answer:
                _check_status(answer, url)
                yield Body(answer.iter_raw(BLOCK), url)
        except httpx2.HTTPError as error:
            raise TransportError("the remote cannot be reached", url=url, reason=str(error)) from error


def _check_status(answer: httpx2.Response, url: str) -> None:
    status = answer.status_code
    if status == 200:
        return
    if status in _ABSENT:
        raise RemoteMissing("the remote does not have this file", url=url, status=status)
    if status in _AGAIN or status >= 500:
        raise TransportError("the remote failed", url=url, status=status)
    raise RemoteMissing("the remote gave an unexpected answer", url=url, status=status)
