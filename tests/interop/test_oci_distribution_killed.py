"""kill -9 in the middle of an upload: nothing half is shown, nothing that was shown is lost, the session goes on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx2

from support.oci_client import Repo
from support.oci_content import Content, digest_of
from support.server import ServerProcess, start_server


def client_of(server: ServerProcess) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers=server.auth, timeout=60)


def test_killed_in_the_middle_of_a_patch(tmp_path: Path) -> None:
    data, content = os.urandom(8 << 20), Content()
    content.image()
    with start_server(tmp_path / "data") as server, client_of(server) as client:
        repo = Repo(client, "r")
        repo.push(content.tag("v1"))
        where = repo.location(repo.patch(repo.location(repo.begin()), data[:1000], 0))
        with connection_to(server) as connection:
            connection.sendall(patch_head(server, where, len(data) - 1000) + data[1000 : 5 << 20])
            wait_until_more_than(repo, where, 1000)
            server.kill()
    with start_server(tmp_path / "data") as server, client_of(server) as client:
        repo = Repo(client, "r")
        assert repo.head(f"blobs/{digest_of(data)}").status_code == 404
        assert repo.get("manifests/v1").content == content.documents[0].body
        assert all(repo.get(f"blobs/{digest}").content == blob for digest, blob in content.blobs.items())
        state = client.get(where.path)
        offset = int(state.headers["Range"].removeprefix("0-")) + 1
        assert 1000 < offset <= 5 << 20
        response = repo.put(repo.location(state), digest_of(data), data[offset:], offset)
        assert response.status_code == 201
        assert repo.get(f"blobs/{digest_of(data)}").content == data


def connection_to(server: ServerProcess) -> socket.socket:
    address = httpx2.URL(server.url)
    return socket.create_connection((address.host, address.port or 80))


def patch_head(server: ServerProcess, where: httpx2.URL, length: int) -> bytes:
    lines = [f"PATCH {where.path} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in server.auth.items())]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def wait_until_more_than(repo: Repo, where: httpx2.URL, offset: int) -> None:
    """The server writes in batches while the request is still running; its state may be asked for meanwhile."""
    for _ in range(10_000):
        if int(repo.client.get(where).headers["Range"].removeprefix("0-")) + 1 > offset:
            return
    raise AssertionError("nothing was written")
