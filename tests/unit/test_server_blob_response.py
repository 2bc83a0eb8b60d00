"""Blobs over HTTP, on a real server: whole, ranges, HEAD, 304, parts, delegation, a client that goes away."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from smidgen_deltas.digest import Digest
from smidgen_server.api.blob_response import AT_ONCE, Span, blob_response, parts_response
from smidgen_server.api.deps import get_services
from support.server import RunningServer, run_server

SMALL = os.urandom(2048)
LARGE = os.urandom(AT_ONCE * 3 + 12_345)
PARTS = b"header:" + SMALL[100:1100] + LARGE[5 : 5 + AT_ONCE] + b":trailer"


def blobs_route(request: Request, digest: str) -> Response:
    return blob_response(request, get_services(request), Digest.parse(digest), media_type="application/x-test")


def parts_route(request: Request) -> Response:
    parts = [
        b"header:",
        Span(Digest.of(SMALL), 100, 1000),
        Span(Digest.of(LARGE), 5, AT_ONCE),
        b":trailer",
    ]
    return parts_response(request, get_services(request), parts, etag="parts", headers={"X-More": "yes"})


def with_blobs(app: FastAPI) -> None:
    app.add_api_route("/test/blobs/{digest}", blobs_route, methods=["GET", "HEAD"])
    app.add_api_route("/test/parts", parts_route, methods=["GET", "HEAD"])


def store(server: RunningServer, *blobs: bytes) -> RunningServer:
    for data in blobs:
        with server.services.blobs.writer() as writer:
            writer.write(data)
            writer.finish()
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server(tmp_path_factory.mktemp("data"), extend=with_blobs) as running:
        yield store(running, SMALL, LARGE, b"")


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx2.Client]:
    with server.anonymous() as found:
        yield found


def path(data: bytes) -> str:
    return f"/test/blobs/{Digest.of(data)}"


@pytest.mark.parametrize("data", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_whole(client: httpx2.Client, data: bytes) -> None:
    got, head = client.get(path(data)), client.head(path(data))
    assert (got.status_code, got.content) == (200, data)
    assert (head.status_code, head.content) == (200, b"")
    for answer in (got, head):
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["etag"] == f'"{Digest.of(data)}"'
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-type"] == "application/x-test"
        assert "content-range" not in answer.headers


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_ranges(client: httpx2.Client, data: bytes) -> None:
    size = len(data)
    for first, last in [(0, 0), (500, 1499), (2000, size - 1), (0, size - 1), (size - 1, size - 1)]:
        answer = client.get(path(data), headers={"Range": f"bytes={first}-{last}"})
        assert answer.status_code == 206
        assert answer.content == data[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last - first + 1)


def test_a_range_outside(client: httpx2.Client) -> None:
    for value in ("bytes=500-0", "bytes=5000-10000"):
        answer = client.get(path(SMALL), headers={"Range": value})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == "bytes */2048"
        assert answer.json()["error"]["code"] == "SIZE_INVALID"


def test_head_ignores_ranges(client: httpx2.Client) -> None:
    answer = client.head(path(SMALL), headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "2048")


def test_several_ranges_give_the_whole(client: httpx2.Client) -> None:
    answer = client.get(path(SMALL), headers={"Range": "bytes=0-0,5-9"})
    assert (answer.status_code, answer.content) == (200, SMALL)


def test_not_modified(client: httpx2.Client) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, path(LARGE), headers={"If-None-Match": f'"{Digest.of(LARGE)}"'})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{Digest.of(LARGE)}"'
        assert "immutable" in answer.headers["cache-control"]
        assert "content-type" not in answer.headers


def test_an_answer_to_a_known_asker_is_not_for_shared_caches(server: RunningServer) -> None:
    with server.client() as known:
        assert known.get(path(SMALL)).headers["cache-control"] == "private, max-age=31536000, immutable"


def test_an_unknown_blob(client: httpx2.Client) -> None:
    answer = client.get(path(b"never stored"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "BLOB_UNKNOWN"
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/test/blobs/sha256:abc").status_code == 400


def test_parts_read_as_one(client: httpx2.Client) -> None:
    answer = client.get("/test/parts")
    assert answer.content == PARTS
    assert (answer.headers["etag"], answer.headers["x-more"]) == ('"parts"', "yes")
    assert client.get("/test/parts", headers={"If-None-Match": '"parts"'}).status_code == 304
    size = len(PARTS)
    edges = [0, 3, 6, 7, 500, 1006, 1007, 1008, 100_000, size - 9, size - 8, size - 1]
    for first in edges:
        for last in edges:
            if first <= last:
                got = client.get("/test/parts", headers={"Range": f"bytes={first}-{last}"})
                assert got.status_code == 206
                assert got.content == PARTS[first : last + 1], (first, last)


def test_a_client_that_goes_away_ends_the_reading(server: RunningServer) -> None:
    """The bytes sent are counted when the answer ends: far fewer than there are."""
    huge = bytes(64 << 20)
    store(server, huge)
    host, port = server.host.split(":")
    before = sent_bytes(server)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path(huge)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(1000)
    with server.anonymous() as client:
        while "smidgen_http_requests_running 1.0" not in client.get("/metrics").text:
            pass
    assert sent_bytes(server) - before < len(huge) // 2


def sent_bytes(server: RunningServer) -> float:
    return (
        server.services.metrics.registry.get_sample_value(
            "smidgen_http_sent_bytes_total", {"route": "/test/blobs/{digest}"}
        )
        or 0.0
    )


def test_delegation_to_nginx(tmp_path: Path) -> None:
    with run_server(tmp_path / "data", extend=with_blobs, accel_prefix="/_smidgen/") as server:
        store(server, LARGE)
        digest = Digest.of(LARGE)
        with server.anonymous() as client:
            answer = client.get(path(LARGE), headers={"Range": "bytes=0-0"})
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["x-accel-redirect"] == f"/_smidgen/sha256/{digest.hex[:2]}/{digest.hex}"
            assert answer.headers["etag"] == f'"{digest}"'
            assert client.get(path(LARGE), headers={"If-None-Match": f'"{digest}"'}).status_code == 304
            assert "x-accel-redirect" not in client.head(path(LARGE)).headers
            assert client.head(path(LARGE)).headers["content-length"] == str(len(LARGE))
            assert client.get(path(b"unknown")).status_code == 404


def test_delegation_to_a_bucket(tmp_path: Path, s3: dict[str, Any]) -> None:
    with run_server(tmp_path / "data", extend=with_blobs, blobs={**s3, "redirect": True}) as server:
        store(server, LARGE)
        with server.anonymous() as client:
            answer = client.get(path(LARGE))
            assert answer.status_code == 307
            assert answer.headers["cache-control"] == "no-store"
            got = httpx2.get(answer.headers["location"], headers={"Range": "bytes=7-9"})
            assert (got.status_code, got.content) == (206, LARGE[7:10])
            assert client.head(path(LARGE)).status_code == 200


def test_a_bucket_without_redirects_is_streamed(tmp_path: Path, s3: dict[str, Any]) -> None:
    with run_server(tmp_path / "data", extend=with_blobs, blobs=s3) as server:
        store(server, LARGE)
        with server.anonymous() as client:
            assert client.get(path(LARGE)).content == LARGE
            got = client.get(path(LARGE), headers={"Range": "bytes=100-400000"})
            assert (got.status_code, got.content) == (206, LARGE[100:400_001])
            assert client.get("/readyz").json() == {"status": "ok", "database": "ok", "blobs": "ok"}
