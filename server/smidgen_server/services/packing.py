"""Putting contents into packs, pack by pack: each is durable and in the index before the next one is begun.

A content counts as packed only once all of it is committed; a run that was killed in between leaves frames that
nothing points at, which garbage collection removes, and is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.native.pack import BuiltPack, PackBuilder
from smidgen_deltas.native.packmap import MAX_PACK
from smidgen_server.blobs.base import BlobStore
from smidgen_server.index import content, guard, packs
from smidgen_server.index.base import Index
from smidgen_server.services.contents import locate, read_content
from smidgen_server.services.parallel import ordered
from smidgen_server.services.stored import record_blob

THREADS: Final = 2  # each holds a pack and a frame: about 45 MB
LOOKUP: Final = 500  # contents located at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """A content to be packed: row id, sha256, size in bytes (at least 1)."""

    id: int
    sha256: bytes
    size: int


class PackWriter:
    """Contents in, committed packs out. Not thread-safe; hold one per thread."""

    def __init__(self, index: Index, blobs: BlobStore, repo_id: int, *, level: int) -> None:
        self._index, self._blobs, self._repo_id = index, blobs, repo_id
        self._builder = PackBuilder(level)
        self._sizes: dict[bytes, int] = {}
        self._left: dict[bytes, int] = {}
        self._frames: dict[bytes, list[int]] = {}

    def __contains__(self, sha256: bytes) -> bool:
        """Whether the content was added and is not committed yet."""
        return sha256 in self._left

    def add(self, sha256: bytes, size: int, chunks: Iterable[bytes]) -> None:
        """Add one content, once. Raises SizeMismatch, DigestMismatch when `chunks` are not the content."""
        self._sizes[sha256] = self._left[sha256] = size
        self._frames[sha256] = []
        for built in self._builder.add(sha256, size, chunks):
            self._commit(built)

    def finish(self) -> None:
        """Commit the rest."""
        for built in self._builder.finish():
            self._commit(built)

    def _commit(self, built: BuiltPack) -> None:
        with self._blobs.writer() as writer:
            writer.write(built.data)
            digest, size = writer.finish()
        sizes = {run.sha256: self._sizes[run.sha256] for frame in built.frames for run in frame.runs}
        with self._index.session() as session:
            guard.share(session)
            ids = content.ensure(session, sizes)
            blob_id = record_blob(session, self._blobs, digest, size)
            numbers = packs.add_pack(session, self._repo_id, blob_id, size, built.frames, ids)
            complete = self._note(built, numbers)
            packs.add_locations(session, self._repo_id, {ids[sha256]: places for sha256, places in complete.items()})

    def _note(self, built: BuiltPack, numbers: Sequence[int]) -> dict[bytes, list[int]]:
        """Contents that this pack completes, with all frames they lie in."""
        complete = {}
        for number, frame in zip(numbers, built.frames, strict=True):
            for run in frame.runs:
                self._frames[run.sha256].append(number)
                self._left[run.sha256] -= run.length
                if not self._left[run.sha256]:
                    complete[run.sha256] = self._frames.pop(run.sha256)
                    del self._left[run.sha256], self._sizes[run.sha256]
        return complete


def pack_contents(
    index: Index,
    blobs: BlobStore,
    repo_id: int,
    wanted: Sequence[Wanted],
    *,
    level: int,
    advance: Callable[[int], None],
) -> None:
    """Pack stored contents on THREADS threads, each a contiguous share; `advance` gets bytes done, on any thread."""

    def work(share: Sequence[Wanted]) -> None:
        writer = PackWriter(index, blobs, repo_id, level=level)
        for at in range(0, len(share), LOOKUP):
            part = share[at : at + LOOKUP]
            places = locate(index, [one.id for one in part])
            for one in part:
                writer.add(one.sha256, one.size, read_content(blobs, places[one.id]))
                advance(one.size)
        writer.finish()

    for _ in ordered(work, [share for share in _shares(wanted) if share], threads=THREADS, ahead=THREADS):
        pass


def _shares(wanted: Sequence[Wanted]) -> list[Sequence[Wanted]]:
    """Cut into THREADS runs of about equal bytes; what fits one pack is not cut."""
    total = sum(one.size for one in wanted)
    shares: list[Sequence[Wanted]] = []
    begin = done = 0
    for at, one in enumerate(wanted):
        done += one.size
        if total > MAX_PACK and done * THREADS >= total * (len(shares) + 1):
            shares.append(wanted[begin : at + 1])
            begin = at + 1
    return [*shares, wanted[begin:]]
