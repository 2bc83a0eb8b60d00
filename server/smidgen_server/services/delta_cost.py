"""What an update costs a device without deltas: what a delta is measured against."""

from __future__ import annotations

from collections.abc import Iterable

from smidgen_deltas import zstd
from smidgen_deltas.native.packmap import decode_packmap
from smidgen_deltas.native.tree import decode_contents
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index.surface import Part, Revision


def packs_cost(blobs: BlobReader, sources: Iterable[Revision], target: Revision) -> int:
    """Bytes that a device that has `sources` fetches to get to `target`: tree, map, frames of what it lacks."""
    cost = target.tree.size
    if target.packs is None:
        return cost
    have = {one.sha256 for source in sources for one in decode_contents(read_part(blobs, source.tree))}
    contents = decode_contents(read_part(blobs, target.tree))
    missing = [one.sha256 not in have for one in contents]
    packmap = decode_packmap(read_part(blobs, target.packs), len(contents))
    frames = (
        frame for frame in packmap.frames if any(one.content >= 0 and missing[one.content] for one in frame.members)
    )
    return cost + target.packs.size + sum(frame.size for frame in frames)


def read_part(blobs: BlobReader, part: Part) -> bytes:
    """A stored document, decoded."""
    with blobs.open(part.digest) as blocks:
        return zstd.decompress(b"".join(blocks), part.raw_size)
