"""A large layer through the server as a process: memory stays flat, whatever the size of the blob."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2

from support.oci_client import OCTETS, Repo
from support.server import start_server

MIB = 1 << 20
SIZE = 160 * MIB
BLOCK = bytes(range(256)) * 4096


def layer() -> Iterator[bytes]:
    for number in range(SIZE // MIB):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def test_memory_does_not_grow_with_the_blob(tmp_path: Path) -> None:
    expected = hashlib.sha256()
    for block in layer():
        expected.update(block)
    digest = f"sha256:{expected.hexdigest()}"
    with start_server(tmp_path / "data") as server:
        with httpx2.Client(base_url=server.url, headers=server.auth, timeout=120) as client:
            repo = Repo(client, "big")
            repo.post_put(f"sha256:{hashlib.sha256(b'small').hexdigest()}", b"small")
            before = server.peak_memory()
            where = repo.location(client.patch(repo.location(repo.begin()), content=layer(), headers=OCTETS))
            assert repo.put(where, digest).status_code == 201
            received = hashlib.sha256()
            with client.stream("GET", repo.path(f"blobs/{digest}")) as response:
                for chunk in response.iter_raw():
                    received.update(chunk)
            assert received.hexdigest() == expected.hexdigest()
        assert server.peak_memory() < 256 * MIB
        assert server.peak_memory() - before < 48 * MIB
