"""The edge of the server: every route answers HEAD, every error has its shape, requests are logged and counted."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from smidgen_deltas.errors import BlobUnknown, Conflict, StorageError
from smidgen_server.api.body import BATCH, BodyReader, drain, in_body_thread
from smidgen_server.api.routes import all_routes
from smidgen_server.app import create_app
from smidgen_server.blobs.base import StorageFailed
from support.server import RunningServer, run_server


def test_every_route_that_answers_get_answers_head(server: RunningServer) -> None:
    methods: dict[str, set[str]] = {}
    for route in all_routes(create_app(server.services).routes):
        methods.setdefault(route.path, set()).update(route.methods or ())
    readable = {path for path, allowed in methods.items() if "GET" in allowed}
    assert {path for path in readable if "HEAD" not in methods[path]} == set()
    assert readable >= {"/healthz", "/readyz", "/metrics", "/v2/", "/v2/token"}
    assert len(readable) > 12


def test_head_answers_as_get_without_the_body(server: RunningServer) -> None:
    with server.client() as client:
        for path in ("/healthz", "/readyz", "/v2/", "/nowhere", "/v2/nowhere"):
            got, head = client.get(path), client.head(path)
            assert head.status_code == got.status_code
            assert head.content == b""
            assert head.headers["content-length"] == got.headers["content-length"]
            assert head.headers["content-type"] == got.headers["content-type"]


def test_health(server: RunningServer) -> None:
    with server.anonymous() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ok", "database": "ok", "blobs": "ok"}


def test_not_ready_without_its_blob_directory(server: RunningServer) -> None:
    shutil.rmtree(server.settings.blob_dir)
    with server.anonymous() as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["blobs"] != "ok"
        assert answer.json()["database"] == "ok"
        assert client.get("/healthz").status_code == 200


def failing(app: FastAPI) -> None:
    """Routes that fail in every way there is, under both roots."""
    failures: dict[str, Exception] = {
        "unknown": BlobUnknown("no such blob", digest="sha256:x"),
        "conflict": Conflict("busy"),
        "full": StorageError("disk full"),
        "down": StorageFailed("bucket down"),
        "bug": ZeroDivisionError("a secret inside"),
    }

    def fail(name: str, number: int = 0) -> Response:
        raise failures[name]

    async def late(request: Request) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ZeroDivisionError

        await app(None, None, request._send)

    for root in ("/test", "/v2/test"):
        app.add_api_route(root + "/{name}", fail)
        app.router.routes.insert(0, app.router.routes.pop())  # before what answers everything else under /v2/
    app.add_api_route("/late", late)


@pytest.fixture
def failing_server(tmp_path: Path):  # type: ignore[no-untyped-def]
    with run_server(tmp_path / "data", extend=failing) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/test/unknown", 404, "BLOB_UNKNOWN"),
        ("/test/conflict", 409, "DENIED"),
        ("/test/full", 507, "UNAVAILABLE"),
        ("/test/down", 503, "UNAVAILABLE"),
        ("/test/bug", 500, "UNKNOWN"),
        ("/test/unknown?number=x", 400, "UNSUPPORTED"),
        ("/elsewhere", 404, "NAME_UNKNOWN"),
    ],
)
def test_every_error_has_its_shape(failing_server: RunningServer, path: str, status: int, code: str) -> None:
    with failing_server.anonymous() as client:
        ours, registry = client.get(path), client.get("/v2" + path)
    assert ours.status_code == registry.status_code == status
    error = ours.json()["error"]
    assert set(error) == {"code", "message", "detail", "advice"}
    (oci,) = registry.json()["errors"]
    assert set(registry.json()) == {"errors"}
    assert set(oci) == {"code", "message", "detail"}
    assert error["code"] == oci["code"] == code
    assert "secret" not in ours.text
    assert ours.headers["cache-control"] == "no-store"
    assert ("retry-after" in ours.headers) == (status == 503)


def test_a_wrong_method(server: RunningServer) -> None:
    with server.anonymous() as client:
        answer = client.delete("/healthz")
        assert answer.status_code == 405
        assert answer.json()["error"]["code"] == "UNSUPPORTED"
        assert "GET" in answer.headers["allow"]


def test_requests_are_logged_and_counted(server: RunningServer) -> None:
    with structlog.testing.capture_logs() as lines, server.anonymous() as client:
        answer = client.get("/v2/", headers={"X-Request-Id": "from-the-proxy.1"})
        wild = client.get("/v2/", headers={"X-Request-Id": "x\ty" * 50})
        metrics = client.get("/metrics").text
    assert answer.headers["x-request-id"] == "from-the-proxy.1"
    assert len(wild.headers["x-request-id"]) == 16
    line = next(line for line in lines if line["event"] == "request" and line["path"] == "/v2/")
    assert (line["method"], line["status"], line["bytes"]) == ("GET", 401, len(answer.content))
    assert line["seconds"] >= 0
    assert 'smidgen_http_requests_total{method="GET",route="/v2/",status="401"} 2.0' in metrics
    assert 'smidgen_http_request_seconds_count{method="GET",route="/v2/"} 2.0' in metrics
    assert f'smidgen_http_sent_bytes_total{{route="/v2/"}} {2.0 * len(answer.content)}' in metrics


def test_paths_without_a_route_are_one_series(server: RunningServer) -> None:
    with server.anonymous() as client:
        for number in range(3):
            client.get(f"/nowhere/{number}")
        metrics = client.get("/metrics").text
    assert 'route="other",status="404"} 3.0' in metrics
    assert "/nowhere/1" not in metrics


def test_stored_blobs_are_counted(server: RunningServer) -> None:
    with server.services.blobs.writer() as writer:
        writer.write(b"12345")
        writer.finish()
    with server.anonymous() as client:
        metrics = client.get("/metrics").text
    assert "smidgen_blobs_stored_total 1.0" in metrics
    assert "smidgen_blobs_stored_bytes_total 5.0" in metrics


def test_metrics_can_be_turned_off(tmp_path: Path) -> None:
    with run_server(tmp_path / "data", metrics=False) as running, running.anonymous() as client:
        assert client.get("/metrics").status_code == 404


class Received:
    """What the body routes below were given."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.threads: set[str] = set()
        self.failures: list[BaseException] = []
        self.ended = threading.Event()

    def write(self, data: bytes) -> None:
        self.batches.append(data)
        self.threads.add(threading.current_thread().name)

    def routes(self, app: FastAPI) -> None:
        async def put(request: Request, limit: int = 1 << 30) -> Response:
            try:
                return Response(str(await drain(request, self.write, limit=limit)))
            except BaseException as error:
                self.failures.append(error)
                raise
            finally:
                self.ended.set()

        async def parse(request: Request, limit: int = 1 << 30) -> Response:
            def work(body: BodyReader) -> str:
                while part := body.read(100_003):
                    self.write(part)
                return str(sum(map(len, self.batches)))

            return Response(await in_body_thread(request, work, limit=limit))

        app.add_api_route("/drain", put, methods=["PUT"])
        app.add_api_route("/parse", parse, methods=["PUT"])


@pytest.mark.parametrize("path", ["/drain", "/parse"])
def test_bodies_are_streamed_off_the_event_loop(tmp_path: Path, path: str) -> None:
    received = Received()
    data = bytes(range(251)) * 20_000
    with run_server(tmp_path / "data", extend=received.routes) as running, running.anonymous() as client:
        chunked = (data[at : at + 77_777] for at in range(0, len(data), 77_777))
        assert client.put(path, content=chunked).text == str(len(data))
    assert b"".join(received.batches) == data
    assert len(received.batches) > 1
    assert max(map(len, received.batches)) < 2 * BATCH
    assert all("AnyIO" in name for name in received.threads)


@pytest.mark.parametrize("path", ["/drain", "/parse"])
def test_a_body_over_the_limit_is_refused(tmp_path: Path, path: str) -> None:
    received = Received()
    with run_server(tmp_path / "data", extend=received.routes) as running, running.anonymous() as client:
        declared = client.put(path, params={"limit": 1000}, content=bytes(1001))
        streamed = client.put(path, params={"limit": 1000}, content=(bytes(500) for _ in range(3)))
        assert client.put(path, params={"limit": 1000}, content=bytes(1000)).status_code == 200
    assert declared.status_code == streamed.status_code == 413
    assert declared.json()["error"]["code"] == "SIZE_INVALID"


def test_what_arrived_before_the_sender_went_away_is_kept(tmp_path: Path) -> None:
    import socket

    received = Received()
    with structlog.testing.capture_logs() as lines, run_server(tmp_path / "data", extend=received.routes) as running:
        host, port = running.host.split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"PUT /drain HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 600)
        assert received.ended.wait(10)
    assert b"".join(received.batches) == b"x" * 600
    assert isinstance(received.failures[0], ClientDisconnect)
    assert [line["log_level"] for line in lines if line.get("path") == "/drain"] == ["info"]
    assert lines[-1]["status"] == 499


def test_an_answer_that_breaks_off_is_seen_by_the_client(failing_server: RunningServer) -> None:
    import httpx2

    with failing_server.anonymous() as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get("/late")


def test_the_openapi_document_is_served(server: RunningServer) -> None:
    with server.anonymous() as client:
        document = json.loads(client.get("/api/v1/openapi.json").text)
    assert "/healthz" in document["paths"]
