"""However large what is pushed, the server stays small."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2

from smidgen_deltas.ostree.filez import encode_filez_header
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, FileHeader, ObjectName, ObjectType, checksum_file
from support.ostree_push import pack_name
from support.server import start_server
from support.surface import fetch_document

LIMIT = 256_000_000
BLOCK = os.urandom(1 << 20)
BLOCKS = 220
SIZE = BLOCKS * len(BLOCK)


def content() -> Iterator[bytes]:
    for number in range(BLOCKS):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def stored(data: bytes, *, last: bool) -> Iterator[bytes]:
    """Deflate without compressing: blocks of at most 65,535 bytes behind their lengths (RFC 1951 section 3.2.4)."""
    for at in range(0, len(data), 65535):
        piece = data[at : at + 65535]
        final = last and at + 65535 >= len(data)
        yield bytes([final]) + len(piece).to_bytes(2, "little") + (len(piece) ^ 0xFFFF).to_bytes(2, "little") + piece


def deflated() -> Iterator[bytes]:
    for number, block in enumerate(content(), 1):
        yield b"".join(stored(block, last=number == BLOCKS))


def test_one_file_that_is_larger_than_the_server_may_become(tmp_path: Path) -> None:
    header = FileHeader(0, 0, 0o100644)
    file = checksum_file(header, content())
    meta = DirMeta(0, 0, 0o40755).encode()
    tree = DirTree((("large", file),), ()).encode()
    small = [(ObjectType.DIRMETA, meta), (ObjectType.DIRTREE, tree)]
    roots = [hashlib.sha256(body).digest() for _, body in reversed(small)]
    commit = Commit({}, None, (), "large", "", 1, roots[0], roots[1]).encode()
    checksum = hashlib.sha256(commit).digest()
    length = len(encode_filez_header(header, SIZE)) + sum(len(piece) for piece in deflated())

    def body() -> Iterator[bytes]:
        for kind, data in [*small, (ObjectType.COMMIT, commit)]:
            name = ObjectName(kind, hashlib.sha256(data).digest())
            yield pack_name(name) + len(data).to_bytes(8, "big") + data
        yield pack_name(ObjectName(ObjectType.FILE, file)) + length.to_bytes(8, "big")
        yield encode_filez_header(header, SIZE)
        yield from deflated()

    with start_server(tmp_path / "data") as process:
        with httpx2.Client(base_url=process.url, headers=process.auth, timeout=120) as client:
            sent = client.post("/api/v1/ostree/os/objects", content=body()).raise_for_status()
            assert sent.json() == {"stored": 4}
            wish = {"commit": checksum.hex()}
            number = client.put("/api/v1/ostree/os/refs/large", json=wish).raise_for_status().json()["task"]
            for _ in range(100_000):
                shown = client.get(f"/api/v1/tasks/{number}").json()
                if shown["state"] in ("done", "failed"):
                    break
            assert shown["state"] == "done", shown
            assert fetch_document(client, "ostree/os/large").bytes == SIZE
            path = f"/ostree/os/objects/{file.hex()[:2]}/{file.hex()[2:]}.filez"
            with client.stream("GET", path) as answer:
                assert sum(len(piece) for piece in answer.iter_raw()) == length
        assert process.peak_memory() < LIMIT
