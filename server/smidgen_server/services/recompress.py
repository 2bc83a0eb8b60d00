"""How the stored form of a layer is made again from its tar, bit for bit, where the compressor can be reproduced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog

from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.unpackers.layer import analyze_gzip_layer, recompress_layer
from smidgen_deltas.errors import FormatError
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.media import Compression, layer_compression
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.ingest")
STEP: Final = 4 << 20  # bytes between two words of progress


def find_recompression(
    services: Services, digest: Digest, media_type: str, tar_size: int, progress: Progress
) -> bytes | None:
    """A recipe for `recompress_layer` that was proven by running it; None for plain tars and where none is found.

    The layer is read twice: once to find the recipe, once to prove it.
    """
    if layer_compression(media_type) in (None, Compression.NONE):
        return None
    with services.blobs.open(digest) as blocks:
        recipe = analyze_gzip_layer(BlockReader(blocks))
    if recipe is None:
        log.info("layer cannot be compressed again", digest=str(digest))
        return None
    hasher, done, told = hashlib.new(digest.algorithm), 0, 0
    try:
        with services.blobs.open(digest) as blocks:
            for block in recompress_layer(recipe, open_layer(media_type, BlockReader(blocks), tar_size)):
                hasher.update(block)
                done += len(block)
                if done - told >= STEP:
                    told = done
                    progress(done, 0, "bytes")
    except FormatError as error:
        log.warning("layer does not compress to itself", digest=str(digest), reason=str(error))
        return None
    if hasher.hexdigest() != digest.hex:
        log.warning("layer does not compress to itself", digest=str(digest), found=hasher.hexdigest())
        return None
    return recipe


class BlockReader:
    """Blocks of a blob as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._pending = blocks, b""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        if not self._pending:
            self._pending = next(self._blocks, b"")
        piece, self._pending = self._pending[:size], self._pending[size:]
        return piece
