"""Calling a server's write APIs: one client, retries for what may be repeated, errors as everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from smidgen_client.names import check_server
from smidgen_client.transport.answers import Retryable, ShortBody, library_errors, refuse
from smidgen_client.transport.client import AGENT
from smidgen_client.transport.clock import Clock, SystemClock
from smidgen_client.transport.retry import Attempts, RetryPolicy
from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound, TransportError
from smidgen_deltas.login import shown

MAX_ANSWER: Final = 64 << 20
Body = bytes | Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """status 2xx, or 404 where the caller asked whether something is there."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Raises FormatError."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise FormatError("the server's answer is not JSON") from error
        if not isinstance(value, dict):
            raise FormatError("the server's answer is not a JSON object")
        return value


class Api:
    """One server. Close it, or use it in `with`."""

    def __init__(
        self,
        base_url: str,
        token: str | None,
        clock: Clock | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        address = check_server(base_url)
        self._base = address.url.rstrip("/")
        self.clock = clock or SystemClock()
        self._retry = retry
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # a body of tens of megabytes is verified and stored before it is answered: be patient with reads
        timeout = httpx2.Timeout(60.0, read=600.0, connect=10.0)
        self._http = httpx2.Client(headers=headers, auth=address.login, timeout=timeout)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def attempts(self) -> Attempts:
        """A fresh count of failures, for work that is repeated by the caller."""
        return Attempts(self._retry, self.clock)

    def call(self, method: str, path: str, *, body: Body = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request, repeated while the server is busy or the line breaks; only for what may be done twice.

        Raises Unauthorized, Denied, NotFound, TransportError.
        """
        attempts = self.attempts()
        while True:
            try:
                return self.once(method, path, body=body, headers=headers)
            except Retryable as error:
                attempts.failed(error, error.retry_after)
            except ShortBody as error:
                attempts.failed(error)

    def once(self, method: str, path: str, *, body: Body = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request, not repeated. Raises Retryable or ShortBody where `call` would try again."""
        url = path if path.startswith(("http://", "https://")) else f"{self._base}/{path.lstrip('/')}"
        content = body if isinstance(body, bytes) else body()
        with library_errors(url):
            self._own(url)
            with self._http.stream(method, url, content=content, headers=dict(headers or {})) as answer:
                if answer.status_code >= 300:
                    refuse(answer, ranged=False, blob=False)
                    raise TransportError(
                        "the server answered with something else", status=answer.status_code, url=shown(url)
                    )
                if answer.status_code == 206:
                    raise TransportError("the server answered with a part of something", url=shown(url))
                return Answer(answer.status_code, answer.headers, _body(answer))

    def exists(self, path: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether a HEAD finds something."""
        try:
            self.call("HEAD", path, headers=headers)
        except NotFound:
            return False
        return True

    def _own(self, url: str) -> None:
        """The token goes to the server alone, wherever its Location headers point."""
        if httpx2.URL(url).netloc != httpx2.URL(self._base).netloc:
            raise TransportError("the server points to another host", url=shown(url))


def _body(answer: httpx2.Response) -> bytes:
    found = bytearray()
    for block in answer.iter_raw():
        found += block
        if len(found) > MAX_ANSWER:
            raise LimitExceeded("the server's answer is too large", limit=MAX_ANSWER)
    return bytes(found)
