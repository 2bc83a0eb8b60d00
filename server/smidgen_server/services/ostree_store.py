"""Putting verified ostree objects into blobs and index, batch by batch.

Deflated contents are appended to a blob of about BLOB_BYTES; when it is full it is finished (durable, hashed), and
one transaction makes everything in it known and visible. Killed in between, what was committed stays and the rest
was never there; an ingest that starts over finds the committed objects and skips them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import Conflict, SmidgenError
from smidgen_deltas.ostree.objects import ObjectType
from smidgen_server.blobs.base import BlobStore, BlobWriter
from smidgen_server.index import content, guard, ostree
from smidgen_server.index.base import Index
from smidgen_server.services.ostree_check import CheckedFile
from smidgen_server.services.stored import record_blob

BLOB_BYTES: Final = 32 << 20  # a kill loses at most this much work; a larger content has a blob of its own
BATCH_OBJECTS: Final = 4096
BATCH_BODIES: Final = 8 << 20  # bytes of metadata held in memory
SETTLE_FILES: Final = 64  # files looked up at once before their bytes are appended
SETTLE_BYTES: Final = 8 << 20
_BLOCK: Final = 1 << 18


@dataclass(slots=True)
class _Blob:
    """The blob being written and where in it contents lie."""

    writer: BlobWriter
    size: int = 0
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)


class ObjectWriter:
    """Context manager; leaving it commits the rest. Leaving it by an exception does so too where storage still works:
    what was handed in was verified, and need not be taken in again.

    Objects handed in must have been verified (`check_file`, `check_filez`, or hashing of a metadata body). Not
    thread-safe.
    """

    def __init__(self, index: Index, blobs: BlobStore, repo_id: int) -> None:
        self._index, self._blobs, self._repo_id = index, blobs, repo_id
        self._stack = ExitStack()
        self._pending: deque[CheckedFile] = deque()
        self._pending_bytes = 0
        self._bodies: list[ostree.NewObject] = []
        self._body_bytes = 0
        self._files: list[tuple[CheckedFile, bytes]] = []
        self._blob: _Blob | None = None
        self._failed = False  # storage refused; blob and lists may not agree any more
        self.stored = 0  # objects committed
        self.bytes = 0  # plain bytes of the files among them

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
            elif not self._failed:
                with suppress(SmidgenError):  # the error that ended the block is the one to tell
                    self.commit()
        finally:
            for checked in self._pending:
                checked.close()
            self._stack.close()

    def put_metadata(self, kind: ObjectType, checksum: bytes, body: bytes) -> None:
        """Add a dirtree, dirmeta or commit; commits stay staged until their closure is checked."""
        staged = kind == ObjectType.COMMIT
        self._bodies.append(ostree.NewObject(kind, checksum, len(body), body=body, staged=staged))
        self._body_bytes += len(body)
        self._commit_if_full()

    def put_file(self, checked: CheckedFile) -> None:
        """Add a file object; it is closed by this."""
        self._pending.append(checked)
        self._pending_bytes += checked.length
        if len(self._pending) >= SETTLE_FILES or self._pending_bytes >= SETTLE_BYTES:
            self._try(self._settle)
            self._commit_if_full()

    def commit(self) -> None:
        """Make everything handed in so far durable and visible."""
        self._try(self._settle)
        if self._files or self._bodies:
            self._try(self._store)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self._failed = True
            raise

    def _store(self) -> None:
        written = self._finish_blob()
        now = int(time.time())
        with self._index.session() as session:
            guard.share(session)
            sizes = {checked.sha256: checked.size for checked, _ in self._files if checked.size}
            ids = content.ensure(session, sizes)
            if written is not None:
                blob, digest = written
                blob_id = record_blob(session, self._blobs, digest, blob.size)
                content.add_deflated(session, blob_id, ((ids[key], *place) for key, place in blob.places.items()))
            if lost := sizes.keys() - content.with_deflated(session, sizes):
                raise Conflict("stored bytes were collected meanwhile; run again", content=min(lost).hex())
            files = [_file_row(checked, header, ids.get(checked.sha256)) for checked, header in self._files]
            ostree.add(session, self._repo_id, [*files, *self._bodies], now=now)
        self.stored += len(self._files) + len(self._bodies)
        self.bytes += sum(checked.size for checked, _ in self._files)
        self._files, self._bodies, self._body_bytes = [], [], 0

    def _commit_if_full(self) -> None:
        if (
            len(self._files) + len(self._bodies) >= BATCH_OBJECTS
            or self._body_bytes >= BATCH_BODIES
            or (self._blob is not None and self._blob.size >= BLOB_BYTES)
        ):
            self.commit()

    def _settle(self) -> None:
        """Append the deflated form of pending files, unless it is stored already."""
        wanted = {checked.sha256 for checked in self._pending if checked.deflated is not None}
        if wanted:
            with self._index.read() as session:
                wanted -= content.with_deflated(session, wanted)
        self._pending_bytes = 0
        while self._pending:
            checked = self._pending.popleft()
            try:
                if checked.deflated is not None and checked.sha256 in wanted:
                    wanted.discard(checked.sha256)
                    self._append(checked)
            finally:
                checked.close()
            self._files.append((checked, checked.header.encode()))

    def _append(self, checked: CheckedFile) -> None:
        blob = self._blob
        if blob is None:
            blob = self._blob = _Blob(self._stack.enter_context(self._blobs.writer()))
        if checked.deflated is None or checked.sha256 in blob.places:
            return
        start = blob.size
        while block := checked.deflated.read(_BLOCK):
            blob.writer.write(block)
            blob.size += len(block)
        blob.places[checked.sha256] = (start, checked.length)

    def _finish_blob(self) -> tuple[_Blob, Digest] | None:
        blob, self._blob = self._blob, None
        if blob is None:
            return None
        digest, _ = blob.writer.finish()
        self._stack.close()
        return blob, digest


def _file_row(checked: CheckedFile, header: bytes, content_id: int | None) -> ostree.NewObject:
    """Empty files and symlinks have no content."""
    return ostree.NewObject(
        ObjectType.FILE, checked.checksum, checked.size, header, content_id if checked.size else None
    )
