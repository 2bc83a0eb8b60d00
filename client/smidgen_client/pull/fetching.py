"""The ladder for contents: planned ranges, the same frames once more, then the next source; each step is told."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from smidgen_client.fetch.blobs import fetch_blob, part_left
from smidgen_client.fetch.packs import FrameFetcher
from smidgen_client.fetch.sink import ContentSink
from smidgen_client.plan.ranges import RangePlan, plan_ranges, wanted_frames
from smidgen_client.progress import Progress
from smidgen_client.targets.base import Assembly, WholeBlob
from smidgen_client.transport.client import Transport
from smidgen_deltas import zstd
from smidgen_deltas.errors import DigestMismatch, IntegrityError, LimitExceeded, SmidgenError
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.refdoc import Piece

ROUNDS: Final = 2
MAX_METADATA: Final = 256 << 20


def fetch_piece(transport: Transport, piece: Piece) -> bytes:
    """A tree or a map: fetched, checked against its digest, decoded to exactly the size that was promised."""
    if piece.size > MAX_METADATA or piece.raw_size > MAX_METADATA:
        raise LimitExceeded("metadata is too large", size=piece.size, raw_size=piece.raw_size, limit=MAX_METADATA)
    stored = bytearray()
    for block in transport.blob(piece.digest, piece.size):
        stored += block
    piece.digest.check(memoryview(stored))
    return zstd.decompress(memoryview(stored), piece.raw_size)


class PackSource:
    """Contents from packs."""

    def __init__(self, transport: Transport, packmap: PackMap, *, cost: int, connections: int) -> None:
        self._transport, self._packmap = transport, packmap
        self._cost, self._connections = cost, connections

    def plan(self, sink: ContentSink, only: bytearray | None = None) -> RangePlan:
        """What would have to be asked for, for everything that `sink` still wants (or only what is flagged)."""
        flags = sink.left if only is None else only
        frames = [frame for frame in wanted_frames(self._packmap, flags) if sink.wants_frame(frame)]
        return plan_ranges(frames, cost=self._cost)

    def fetch(self, sink: ContentSink, progress: Progress) -> list[str]:
        """Fetch what is wanted; what came wrong once more. Returns the reasons of repetitions.

        Raises the last reason when a content could not be had: IntegrityError with both digests.
        """
        notes: list[str] = []
        for round_number in range(ROUNDS):
            plan = self.plan(sink)
            if not plan.requests:
                break
            progress.begin("fetching" if not round_number else "fetching again", plan.total)
            fetcher = FrameFetcher(
                self._transport,
                self._packmap,
                sink,
                connections=self._connections,
                fresh=round_number > 0,
                advance=progress.advance,
            )
            fetcher.run(plan.jobs)
            progress.end()
            reasons = [error for _, error in fetcher.bad] + list(sink.failed)
            sink.failed.clear()
            for error in reasons:
                notes.append(f"fetched again: {error}")
                progress.say(f"discarded, fetching again: {error}")
            last: SmidgenError | None = reasons[-1] if reasons else None
            if last is not None and round_number == ROUNDS - 1:
                raise last
        if any(sink.left):
            raise IntegrityError("the pack map does not name every content of the tree", missing=sum(sink.left))
        return notes


class BlobSource:
    """Blobs in one piece, several at a time."""

    def __init__(self, transport: Transport, assembly: Assembly, connections: int) -> None:
        self._transport, self._assembly, self._connections = transport, assembly, connections

    def plan(self, blobs: Sequence[WholeBlob]) -> int:
        """How many bytes are to be fetched."""
        return sum(part_left(self._path(blob), blob.size) for blob in blobs)

    def fetch(self, blobs: Sequence[WholeBlob], progress: Progress) -> None:
        """Fetch and hand over. Raises DigestMismatch and what the transport raises."""
        if not blobs:
            return
        progress.begin("fetching layers", self.plan(blobs))
        with ThreadPoolExecutor(min(self._connections, len(blobs)), thread_name_prefix="blob") as pool:
            for _ in pool.map(lambda blob: self._fetch(blob, progress), blobs):
                pass
        progress.end()
        for blob in blobs:
            self._assembly.add_blob(blob, self._path(blob))

    def _fetch(self, blob: WholeBlob, progress: Progress) -> None:
        path = self._path(blob)
        try:
            fetch_blob(self._transport, blob.digest, blob.size, path, progress.advance)
        except DigestMismatch as error:
            progress.say(f"discarded, fetching again: {error}")
            fetch_blob(self._transport, blob.digest, blob.size, path, progress.advance)

    def _path(self, blob: WholeBlob) -> Path:
        return self._assembly.parts.folder / f"{blob.digest.hex}.blob"
