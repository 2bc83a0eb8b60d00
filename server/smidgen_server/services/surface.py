"""Building the immutable part of a revision's surface: tree document, packs, pack map.

Contents that readers of the repository can already get from packs are not packed again; the map names the old packs.
Everything here may be run again: blobs are content-addressed, packs are committed one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import Conflict
from smidgen_deltas.native.packmap import FOREIGN, Frame, Member, PackMap, PackRef, encode_packmap
from smidgen_server.index import content, guard, packs
from smidgen_server.index.surface import Part
from smidgen_server.memory import give_back
from smidgen_server.services.packing import Wanted, pack_contents
from smidgen_server.services.stored import record_blob
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

DOCUMENT_LEVEL: Final = 15  # of trees and maps: mostly digests, which do not compress; higher only takes longer


@dataclass(frozen=True, slots=True)
class PackedContents:
    """The pack map of some contents, and the row ids of all packs it names."""

    part: Part
    packs: frozenset[int]


def store_document(services: Services, raw: bytes) -> Part:
    """Store a tree or map as one zstd frame."""
    stored = zstd.compress(raw, DOCUMENT_LEVEL)
    return Part(store_raw(services, stored), Digest.of(stored), len(stored), len(raw))


def store_raw(services: Services, data: bytes) -> int:
    """Store some bytes as they are; the id of the blob's row."""
    with services.blobs.writer() as writer:
        writer.write(data)
        digest, size = writer.finish()
    with services.index.session() as session:
        return record_blob(session, services.blobs, digest, size)


def pack_missing(services: Services, repo_id: int, wanted: Sequence[Wanted], progress: Progress) -> None:
    """Pack those contents that readers of the repository cannot get from a pack yet."""
    with services.index.read() as session:
        packed = content.packed_for(session, repo_id, [one.id for one in wanted])
    missing = [one for one in wanted if one.id not in packed]
    give_back()
    pack_contents(
        services.index,
        services.blobs,
        repo_id,
        missing,
        level=services.settings.surface.pack_level,
        advance=_Advance(progress, sum(one.size for one in missing)),
    )
    give_back()


def map_contents(services: Services, repo_id: int, wanted: Sequence[Wanted]) -> PackedContents | None:
    """The pack map for contents that are all packed; None for a tree without contents.

    Indexes in the map are positions in `wanted`.
    """
    if not wanted:
        return None
    with services.index.session() as session:
        guard.share(session)
        places = packs.frames_of(session, repo_id, [one.id for one in wanted])
        stored = list(packs.frames(session, {number for found in places.values() for number in found}))
        content.claim_blobs(session, {one.pack_blob_id for one in stored}, now=int(time.time()))
    positions = {one.id: at for at, one in enumerate(wanted)}
    if lost := positions.keys() - places.keys():
        raise Conflict("contents were collected while their map was made; run again", lost=len(lost))
    shown = {(content_id, number) for content_id, numbers in places.items() for number in numbers}
    raw = encode_packmap(_packmap(stored, positions, shown))
    return PackedContents(store_document(services, raw), frozenset(one.pack_blob_id for one in stored))


def _packmap(stored: Sequence[packs.StoredFrame], positions: Mapping[int, int], shown: set[tuple[int, int]]) -> PackMap:
    """Frames by pack and offset. Two repositories may have the same pack, so one place may come twice."""
    by_place: dict[tuple[int, int], list[packs.StoredFrame]] = {}
    for one in sorted(stored, key=lambda one: (one.pack_blob_id, one.start)):
        by_place.setdefault((one.pack_blob_id, one.start), []).append(one)
    order = {blob_id: at for at, blob_id in enumerate(dict.fromkeys(blob_id for blob_id, _ in by_place))}
    refs = tuple(dict.fromkeys(PackRef(same[0].pack, same[0].pack_size) for same in by_place.values()))
    frames = tuple(_frame(same, order[blob_id], positions, shown) for (blob_id, _), same in by_place.items())
    return PackMap(refs, frames)


def _frame(
    same: Sequence[packs.StoredFrame], pack: int, positions: Mapping[int, int], shown: set[tuple[int, int]]
) -> Frame:
    """A frame as the map shows it: members that are not of the tree, or are taken from elsewhere, are foreign."""
    first = same[0]
    members = tuple(
        Member(positions[content_id], start, length)
        if any((content_id, one.id) in shown for one in same)
        else Member(FOREIGN, 0, length)
        for content_id, start, length in first.members
    )
    return Frame(pack, first.start, first.size, first.raw_size, first.check, members)


class _Advance:
    """Adds up bytes done on several threads and tells the progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._done, self._total, "bytes packed")
