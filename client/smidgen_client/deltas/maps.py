"""Contents inside files: small ones are read, large ones mapped for as long as they are used."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.tree import ContentRef

BLOCK: Final = 1 << 20
SMALL: Final = 1 << 17  # bytes; a mapping costs more than reading these


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies in a file."""

    start: int
    size: int


class Mapped:
    """Contents inside one open file, by digest."""

    def __init__(self, file: BinaryIO, places: Mapping[bytes, Place]) -> None:
        self._file = file
        self._places = places

    def has(self, sha256: bytes) -> bool:
        return sha256 in self._places

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound."""
        place = self._places.get(content.sha256)
        if place is None or place.size != content.size:
            raise NotFound("content is not in this input", digest=content.sha256.hex())
        data = read_place(self._file.fileno(), place)
        if len(data) != place.size:
            raise NotFound("an input became shorter", digest=content.sha256.hex())
        return data

    def blocks(self, content: ContentRef) -> Iterator[bytes]:
        """The same bytes, read in blocks: pages of a mapping would count as memory. Raises NotFound."""
        place = self._places.get(content.sha256)
        if place is None or place.size != content.size:
            raise NotFound("content is not in this input", digest=content.sha256.hex())
        return place_blocks(self._file.fileno(), place)


def place_blocks(handle: int, place: Place) -> Iterator[bytes]:
    """The bytes at a place, in blocks. Raises NotFound when the file is shorter."""
    at, left = place.start, place.size
    while left:
        block = os.pread(handle, min(BLOCK, left), at)
        if not block:
            raise NotFound("an input became shorter", missing=left)
        yield block
        at, left = at + len(block), left - len(block)


def pieces(data: Buffer) -> Iterator[bytes]:
    """The same in blocks."""
    if isinstance(data, bytes):
        yield data
        return
    for start in range(0, len(data), BLOCK):
        yield bytes(data[start : start + BLOCK])


def read_place(handle: int, place: Place) -> Buffer:
    """The bytes at a place; fewer when the file is shorter."""
    if place.size <= SMALL:
        return os.pread(handle, place.size, place.start)
    aligned = place.start - place.start % mmap.ALLOCATIONGRANULARITY
    skipped = place.start - aligned
    try:
        found = mmap.mmap(handle, skipped + place.size, access=mmap.ACCESS_READ, offset=aligned)
    except ValueError:  # beyond the end of the file
        return b""
    return memoryview(found)[skipped:]
