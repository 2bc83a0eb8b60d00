"""Layers: from the stored form to the bytes of the tar that a diff_id covers.

Compression is found in the content, because registries and tools often label it wrongly, and then compared with the
media type: a layer that is not what it says is refused, since other readers may go by the label alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smidgen_deltas.errors import FormatError, LimitExceeded, UnsupportedFeature
from smidgen_deltas.oci.gunzip import BLOCK, Reader, stream_gunzip
from smidgen_deltas.oci.media import Compression, layer_compression
from smidgen_deltas.zstd import stream_decompress

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC: Final = b"\x2a\x4d\x18"  # behind one byte 50..5f (RFC 8878 section 3.1.2)
_FOREIGN: Final = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4"}
_SNIFF: Final = 512


class LayerMislabelled(FormatError):
    """The content is compressed otherwise than the media type says."""


def sniff(start: bytes) -> Compression:
    """The compression of content that starts with `start` (6 bytes suffice).

    Raises:
        UnsupportedFeature: compressed in a way that image-spec does not know.
    """
    if start.startswith(GZIP_MAGIC):
        return Compression.GZIP
    if start.startswith(ZSTD_MAGIC) or (start[1:4] == SKIPPABLE_MAGIC and start[0] >> 4 == 5):
        return Compression.ZSTD
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise UnsupportedFeature("layer is compressed in an unknown way", compression=name)
    return Compression.NONE


def open_layer(media_type: str, reader: Reader, limit: int) -> Iterator[bytes]:
    """Yield the uncompressed tar of a layer, in blocks of at most 256 KiB.

    Args:
        media_type: as the manifest names it; "" accepts whatever the content is.
        reader: the stored form, read once from its present position to its end.
        limit: most bytes to yield.
    Raises:
        UnsupportedFeature: not the media type of a layer, or another compression.
        LayerMislabelled, GzipInvalid, ZstdInvalid, LimitExceeded.
    """
    source = _Rewound(reader)
    found = sniff(source.start)
    _check_label(media_type, found)
    if found is Compression.GZIP:
        return stream_gunzip(source, limit)
    if found is Compression.ZSTD:
        return stream_decompress(source, limit, frames=True)
    return _plain(source, limit)


def _check_label(media_type: str, found: Compression) -> None:
    if not media_type:
        return
    promised = layer_compression(media_type)
    if promised is None:
        raise UnsupportedFeature("not the media type of a file system layer", media_type=media_type[:200])
    if promised is not found:
        raise LayerMislabelled("layer is not compressed as its media type says", media_type=media_type, found=found)


def _plain(source: Reader, limit: int) -> Iterator[bytes]:
    produced = 0
    while block := source.read(BLOCK):
        produced += len(block)
        if produced > limit:
            raise LimitExceeded("layer is longer than allowed", limit=limit)
        yield block


class _Rewound:
    """A reader whose first bytes were looked at already."""

    __slots__ = ("_pending", "_reader", "start")

    def __init__(self, reader: Reader) -> None:
        start = b""
        while len(start) < _SNIFF and (more := reader.read(_SNIFF - len(start))):
            start += more
        self.start = start
        self._pending = start
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        if self._pending:
            taken, self._pending = self._pending[:size], self._pending[size:]
            return taken
        return self._reader.read(size)
