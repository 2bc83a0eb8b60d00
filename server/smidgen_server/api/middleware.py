"""The request edge, pure ASGI (wrapping responses would break back-pressure): request id, log line, numbers, and the
answer to faults of our own that nothing else caught."""

from __future__ import annotations

import re
import time
from secrets import token_hex
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smidgen_server.api.errors import error_response
from smidgen_server.metrics import Metrics

log = structlog.stdlib.get_logger("smidgen.request")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestEdge:
    """Outermost middleware. A request id given by a proxy (X-Request-Id) is kept when it is harmless."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else token_hex(8)
        answer = _Answer(send, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id), self._metrics.running.track_inprogress():
            await self._run(scope, receive, answer)

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            pass  # nobody is there to answer; recorded as 499
        except Exception as error:  # noqa: BLE001  (the request edge)
            log.error("request failed", path=scope["path"], exc_info=error)
            if answer.status:
                raise  # the answer has begun: the server cuts the connection, so that the client sees it is not whole
            response = error_response(
                scope["path"], 500, "UNKNOWN", "internal error", {}, "The server's log has the reason."
            )
            await response(scope, receive, answer.send)
        finally:
            self._record(scope, answer, time.perf_counter() - started)

    def _record(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method, status = scope["method"], str(answer.status or 499)
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        self._metrics.sent.labels(route).inc(answer.sent)
        line: dict[str, Any] = {"method": method, "path": scope["path"], "status": int(status), "bytes": answer.sent}
        client = scope.get("client")
        emit = log.debug if scope["path"] in _QUIET else log.info
        emit("request", **line, seconds=round(seconds, 4), client=client[0] if client else None)


class _Answer:
    """Counts what is sent and adds the request id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status = 0
        self.sent = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._request_id
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)
