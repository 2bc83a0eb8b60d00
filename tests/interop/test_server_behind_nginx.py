"""nginx with our sample configuration: it sends the bulk, and nothing that clients rely on is lost on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from smidgen_benchmarks.nginx import start_nginx
from support.server import RunningServer, run_server

pytestmark = pytest.mark.needs("nginx")
BLOB = os.urandom(3_000_000)
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


@dataclass(frozen=True, slots=True)
class Front:
    url: str
    server: RunningServer

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers=self.server.auth, timeout=30)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    root = tmp_path_factory.mktemp("nginx")
    settings = {"accel_prefix": "/_smidgen/", "trusted_proxies": "127.0.0.1"}
    with run_server(root / "data", **settings) as server:
        with start_nginx(root / "front", server.host, root / "data") as nginx:
            yield Front(nginx.url, server)


@pytest.fixture
def blob(front: Front) -> str:
    """A blob pushed through nginx, in a chunk and a half; its path."""
    with front.client() as client:
        begun = client.post("/v2/team/app/blobs/uploads/")
        assert begun.status_code == 202
        half = client.patch(
            begun.headers["location"], content=(BLOB[at : at + 99_999] for at in range(0, 1_999_980, 99_999))
        )
        assert half.headers["range"] == "0-1999979"
        done = client.put(half.headers["location"], params={"digest": DIGEST}, content=BLOB[1_999_980:])
        assert done.status_code == 201
    return f"/v2/team/app/blobs/{DIGEST}"


def test_a_blob_is_sent_by_nginx_with_our_headers(front: Front, blob: str) -> None:
    with front.client() as client:
        got = client.get(blob)
    assert got.content == BLOB
    assert got.headers["etag"] == f'"{DIGEST}"'
    assert got.headers["docker-content-digest"] == DIGEST
    assert "immutable" in got.headers["cache-control"]
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["accept-ranges"] == "bytes"
    assert front.server.sent_bytes() < len(BLOB)


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=500-1499", 500, 1499),
        ("bytes=-500", 2_999_500, 2_999_999),
        ("bytes=2999990-9999999", 2_999_990, 2_999_999),
    ],
)
def test_ranges(front: Front, blob: str, value: str, first: int, last: int) -> None:
    with front.client() as client:
        got = client.get(blob, headers={"Range": value})
        assert got.status_code == 206
        assert got.content == BLOB[first : last + 1]
        assert got.headers["content-range"] == f"bytes {first}-{last}/3000000"
        same = client.get(blob, headers={"Range": value, "If-Range": f'"{DIGEST}"'})
        assert (same.status_code, same.content) == (206, got.content)
        other = client.get(blob, headers={"Range": value, "If-Range": '"another"'})
        assert (other.status_code, len(other.content)) == (200, len(BLOB))


def test_ranges_outside_and_unchanged(front: Front, blob: str) -> None:
    with front.client() as client:
        for value in ("bytes=500-0", "bytes=5000000-"):
            assert client.get(blob, headers={"Range": value}).status_code == 416
        assert client.get(blob, headers={"If-None-Match": f'"{DIGEST}"'}).status_code == 304
        head = client.head(blob)
        assert (head.status_code, head.headers["content-length"]) == (200, "3000000")


def test_the_internal_place_is_not_public(front: Front, blob: str) -> None:
    path = f"/_smidgen/sha256/{DIGEST[7:9]}/{DIGEST[7:]}"
    assert httpx2.get(front.url + path).status_code == 404


def test_the_challenge_names_the_front(front: Front) -> None:
    challenge = httpx2.get(f"{front.url}/v2/").headers["www-authenticate"]
    assert f'realm="{front.url}/v2/token"' in challenge
