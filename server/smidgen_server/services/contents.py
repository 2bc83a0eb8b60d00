"""Reading contents wherever their bytes lie: deflated in a blob, or in frames of packs. For the server itself; what a
client may read is decided elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import IntegrityError
from smidgen_deltas.native.pack import open_frame
from smidgen_deltas.native.packmap import Frame
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index import content, packs
from smidgen_server.index.base import Index
from smidgen_server.index.content import Extent

PIECE: Final = 1 << 18


class ContentLost(IntegrityError):
    """The index knows a content, but no place that has its bytes."""

    status, hint = 500, "Publish or mirror the revision again; run `smidgen verify` on the server's data directory."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies: one extent of deflated bytes, or frames in the order of the content."""

    content_id: int
    extent: Extent | None
    frames: tuple[packs.StoredFrame, ...]


def locate(index: Index, content_ids: Sequence[int]) -> dict[int, Place]:
    """Places of some thousand contents at once. Raises ContentLost."""
    with index.read() as session:
        extents = content.deflated_extents(session, content_ids)
        packed = packs.frames_of(session, None, [one for one in content_ids if one not in extents])
        frames = {one.id: one for one in packs.frames(session, {n for numbers in packed.values() for n in numbers})}
    places = {content_id: Place(content_id, extent, ()) for content_id, extent in extents.items()}
    for content_id, numbers in packed.items():
        places[content_id] = Place(content_id, None, tuple(frames[number] for number in numbers))
    for content_id in content_ids:
        if content_id not in places:
            raise ContentLost("a content has no stored bytes", content=content_id)
    return places


def read_content(blobs: BlobReader, place: Place) -> Iterator[bytes]:
    """The bytes of a content in pieces. The caller counts and hashes them."""
    if place.extent is not None:
        yield from inflate_extent(blobs, place.extent)
        return
    runs = sorted(
        (start, stored, offset, length)
        for stored in place.frames
        for offset, (owner, start, length) in _offsets(stored)
        if owner == place.content_id
    )
    for _, stored, offset, length in runs:
        yield _raw_frame(blobs, stored)[offset : offset + length]


def inflate_extent(blobs: BlobReader, extent: Extent) -> Iterator[bytes]:
    """Plain bytes of a deflated extent, in pieces of at most PIECE."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    with blobs.open(extent.blob, extent.start, extent.length) as blocks:
        for block in blocks:
            pending, piece = block, b""
            while pending or len(piece) == PIECE:
                piece = unpacker.decompress(pending, PIECE)
                pending = unpacker.unconsumed_tail
                if piece:
                    yield piece


def _offsets(stored: packs.StoredFrame) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Each member with its offset in the raw frame."""
    offset = 0
    for member in stored.members:
        yield offset, member
        offset += member[2]


def _raw_frame(blobs: BlobReader, stored: packs.StoredFrame) -> bytes:
    with blobs.open(stored.pack, stored.start, stored.size) as blocks:
        data = b"".join(blocks)
    return open_frame(Frame(0, stored.start, stored.size, stored.raw_size, stored.check, ()), data)
