"""Fetching a blob in one piece, going on where an earlier attempt ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from smidgen_client.transport.client import Transport
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch

BLOCK: Final = 1 << 20


def fetch_blob(transport: Transport, digest: Digest, size: int, path: Path, advance: Callable[[int], None]) -> None:
    """Write the blob to `path`; what lies there already is taken as its beginning.

    Raises DigestMismatch (the file is removed then) and what the transport raises (the file is kept).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > size:
            file.truncate(0)
        hasher = hashlib.new(digest.algorithm)
        file.seek(0)
        start = 0
        while block := file.read(BLOCK):
            hasher.update(block)
            start += len(block)
        if start < size:
            for block in transport.blob(digest, size, start):
                file.write(block)
                hasher.update(block)
                advance(len(block))
    if hasher.hexdigest() != digest.hex:
        path.unlink()
        raise DigestMismatch("blob does not match its digest", expected=str(digest), found=hasher.hexdigest())


def part_left(path: Path, size: int) -> int:
    """How many bytes of a blob are still to be fetched."""
    try:
        have = path.stat().st_size
    except FileNotFoundError:
        return size
    return size - have if have <= size else size
