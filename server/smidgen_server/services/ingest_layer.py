"""Splitting a pushed layer into contents.

The blob stays as it was pushed. Its tar is read once: contents that readers of the repository cannot get from packs
yet go to packs while it is read, then one transaction notes the recipe. A layer that is no tar, or a hostile one, is
noted as opaque with the reason: it is served whole, nothing of it is taken apart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

import structlog

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import FormatError
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.media import layer_compression
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.recipe import Content, Splitter, encode
from smidgen_server.blobs.staging import storage_errors
from smidgen_server.index import content, layers
from smidgen_server.services.ingest import scratch_dir
from smidgen_server.services.packing import PackWriter
from smidgen_server.services.recompress import find_recompression
from smidgen_server.services.surface import store_document, store_raw
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.ingest")
EXPANSION: Final = 250  # a tar may be this many times larger than its blob ...
SMALL_TAR: Final = 64 << 20  # ... and this much in any case
MEMORY: Final = 1 << 20  # a larger member waits in a file
BATCH_FILES: Final = 256  # members looked up at once
BATCH_BYTES: Final = 8 << 20
BLOCK: Final = 1 << 18


def ingest_layer(
    services: Services, repo_id: int, digest: Digest, size: int, media_type: str, progress: Progress
) -> layers.SplitLayer | layers.OpaqueLayer:
    """Make sure that the layer is known in parts, or known to be opaque. Raises BlobUnknown, StorageError."""
    known = _find(services, digest)
    if known is None:
        _take_apart(services, repo_id, digest, size, media_type, progress)
        known = _find(services, digest)
    assert known is not None
    if isinstance(known, layers.SplitLayer) and not known.examined:
        _examine(services, known, digest, media_type, progress)
        known = _find(services, digest) or known
    return known


def _find(services: Services, digest: Digest) -> layers.SplitLayer | layers.OpaqueLayer | None:
    with services.index.read() as session:
        return layers.find_layer(session, digest)


def _take_apart(
    services: Services, repo_id: int, digest: Digest, size: int, media_type: str, progress: Progress
) -> None:
    if layer_compression(media_type) is None:
        _note_opaque(services, digest, f"not a layer of a file system: {media_type}")
        return
    try:
        _split(services, repo_id, digest, size, media_type, progress)
    except FormatError as error:
        log.warning("layer is kept whole", digest=str(digest), reason=str(error))
        _note_opaque(services, digest, str(error)[:1000])


def _examine(services: Services, layer: layers.SplitLayer, digest: Digest, media_type: str, progress: Progress) -> None:
    """Find out how the layer is compressed. Apart from splitting, so that being killed here loses only this."""
    found = find_recompression(services, digest, media_type, layer.tar_size, progress)
    blob_id = store_raw(services, found) if found is not None else None
    with services.index.session() as session:
        layers.set_recompression(session, layer.id, blob_id)


def _note_opaque(services: Services, digest: Digest, reason: str) -> None:
    with services.index.session() as session:
        layers.add_opaque(session, digest, reason)


def _split(services: Services, repo_id: int, digest: Digest, size: int, media_type: str, progress: Progress) -> None:
    limit = min(max(size * EXPANSION, SMALL_TAR), services.settings.limits.blob_bytes)
    with ExitStack() as stack:
        blocks = stack.enter_context(services.blobs.open(digest))
        reader = _Blocks(blocks, size, progress)
        packer = stack.enter_context(_Packer(services, repo_id))
        splitter = Splitter(open_layer(media_type, reader, limit), packer.sink)
        recipe = encode(splitter, packer.index_of)
        ids = packer.finish()
    stored = store_document(services, recipe)
    with services.index.session() as session:
        layers.add_split(session, digest, splitter.diff_id, splitter.tar_size, stored, ids)
    services.metrics.ingested.labels("layer").inc(splitter.tar_size)


class _Packer:
    """Receives the contents of one tar, in order, and packs the new ones batch by batch."""

    def __init__(self, services: Services, repo_id: int) -> None:
        self._index, self._repo_id = services.index, repo_id
        self._scratch = scratch_dir(services)
        self._writer = PackWriter(services.index, services.blobs, repo_id, level=services.settings.surface.pack_level)
        self._positions: dict[bytes, int] = {}
        self._sizes: dict[bytes, int] = {}
        self._pending: list[_Body] = []
        self._pending_bytes = 0

    def __enter__(self) -> _Packer:
        return self

    def __exit__(self, *_: object) -> None:
        for body in self._pending:
            body.close()

    def sink(self, _member: Member, size: int) -> _Body:
        """For the splitter; the body reports to `took` when it is complete."""
        with storage_errors():
            return _Body(self, size, tempfile.SpooledTemporaryFile(max_size=MEMORY, dir=str(self._scratch)))

    def index_of(self, found: Content) -> int:
        """Position of a content in the layer's list."""
        return self._positions.setdefault(found.sha256, len(self._positions))

    def took(self, body: _Body) -> None:
        if body.sha256 in self._sizes:
            body.close()
            return
        self._sizes[body.sha256] = body.size
        self._pending.append(body)
        self._pending_bytes += body.size
        if len(self._pending) >= BATCH_FILES or self._pending_bytes >= BATCH_BYTES:
            self._pack()

    def finish(self) -> list[int]:
        """Pack the rest; content ids by position."""
        self._pack()
        self._writer.finish()
        with self._index.session() as session:
            ids = content.ensure(session, self._sizes)
        return [ids[sha256] for sha256 in self._positions]

    def _pack(self) -> None:
        sizes = {body.sha256: body.size for body in self._pending}
        with self._index.session() as session:
            ids = content.ensure(session, sizes)
            packed = content.packed_for(session, self._repo_id, list(ids.values()))
        for body in self._pending:
            if ids[body.sha256] not in packed:
                self._writer.add(body.sha256, body.size, body.chunks())
            body.close()
        self._pending, self._pending_bytes = [], 0


class _Body:
    """One content on its way: `smidgen_deltas.tar.recipe.BodyWriter`."""

    def __init__(self, packer: _Packer, size: int, spool: IO[bytes]) -> None:
        self._packer, self.size, self._spool = packer, size, spool
        self.sha256 = b""

    def write(self, data: bytes, /) -> None:
        with storage_errors():
            self._spool.write(data)

    def finish(self, sha256: bytes, /) -> None:
        self.sha256 = sha256
        self._packer.took(self)

    def chunks(self) -> Iterator[bytes]:
        self._spool.seek(0)
        while block := self._spool.read(BLOCK):
            yield block

    def close(self) -> None:
        self._spool.close()


class _Blocks:
    """Blocks of a blob as a file, telling the progress."""

    def __init__(self, blocks: Iterator[bytes], size: int, progress: Progress) -> None:
        self._blocks, self._size, self._progress = blocks, size, progress
        self._pending, self._done = b"", 0

    def read(self, size: int, /) -> bytes:
        if not self._pending:
            self._pending = next(self._blocks, b"")
            self._done += len(self._pending)
            self._progress(self._done, self._size, "bytes of layer")
        piece, self._pending = self._pending[:size], self._pending[size:]
        return piece
