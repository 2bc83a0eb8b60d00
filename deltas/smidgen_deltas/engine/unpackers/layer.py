"""Whole compressed image layers: a recipe that turns the uncompressed tar into the very same compressed bytes.

Both directions work in bounded memory. gzip layers are always taken unless their corrections are too large: zlib, GNU
gzip, pigz, Go's compress/gzip and pgzip all have models. zstd layers are taken when libzstd wrote them; Go's zstd
encoder (skopeo, podman, BuildKit) is not libzstd, and those layers are answered with None.

A recipe is one kind byte and the format's own recipe: 1 a GzipRecipe, 2 a zstd setting and, if the frame tells it, the
content size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers.base import MAX_OUTPUT, Budget, Data, RecipeInvalid
from smidgen_deltas.engine.unpackers.gzip_stream import MAGIC as GZIP_MAGIC
from smidgen_deltas.engine.unpackers.gzip_stream import GzipAnalyzer, GzipRecipe, rebuild_gzip
from smidgen_deltas.engine.unpackers.zstd import MAGIC as ZSTD_MAGIC
from smidgen_deltas.engine.unpackers.zstd import ZstdSetting
from smidgen_deltas.engine.unpackers.zstd_layer import ZstdLayerAnalyzer
from smidgen_deltas.engine.unpackers.zstd_library import BundledLibrary
from smidgen_deltas.errors import FormatError
from smidgen_deltas.wire import WireReader, put_varint

KIND_GZIP: Final = 1
KIND_ZSTD: Final = 2
READ_SIZE: Final = 1 << 18
LAYER_BUDGET: Final = Budget(output=1 << 37, seconds=3600.0, share=0.03)


class Reader(Protocol):
    """The compressed layer."""

    def read(self, size: int, /) -> bytes: ...


def analyze_gzip_layer(compressed: Reader, budget: Budget = LAYER_BUDGET) -> bytes | None:
    """Read a compressed layer (gzip or zstd) to its end; the recipe that makes it again from its tar, or None.

    None also for layers that are not compressed, damaged, or not finished within the budget. The recipe has not been
    tried; the caller compares digests when it first rebuilds the layer, or proves it with `recompress_layer`.
    """
    first = compressed.read(READ_SIZE)
    try:
        if first[:3] == GZIP_MAGIC:
            return _analyze_gzip(first, compressed, budget)
        if first[:4] == ZSTD_MAGIC:
            return _analyze_zstd(first, compressed, budget)
    except FormatError:
        return None
    return None


def _blocks(first: bytes, rest: Reader) -> Iterator[bytes]:
    block = first
    while block:
        yield block
        block = rest.read(READ_SIZE)


def _analyze_gzip(first: bytes, compressed: Reader, budget: Budget) -> bytes:
    analyzer = GzipAnalyzer(budget.start())
    for block in _blocks(first, compressed):
        analyzer.feed(block)
    analyzer.close()
    return bytes((KIND_GZIP,)) + analyzer.recipe().encode()


def _analyze_zstd(first: bytes, compressed: Reader, budget: Budget) -> bytes:
    analyzer = ZstdLayerAnalyzer(budget.start())
    for block in _blocks(first, compressed):
        analyzer.feed(block)
    setting, size = analyzer.close()
    out = bytearray((KIND_ZSTD,))
    setting.put(out)
    if setting.sized:
        put_varint(out, size)
    return bytes(out)


def recompress_layer(recipe: bytes, tar_chunks: Iterable[Data]) -> Iterator[bytes]:
    """The compressed layer from its uncompressed tar, as it comes.

    Raises:
        FormatError: the recipe is damaged or not for this tar. The caller bounds and hashes what comes.
    """
    if not recipe:
        raise RecipeInvalid("layer has no recipe")
    if recipe[0] == KIND_GZIP:
        return rebuild_gzip(GzipRecipe.decode(recipe[1:]), tar_chunks)
    if recipe[0] == KIND_ZSTD:
        return _recompress_zstd(recipe[1:], tar_chunks)
    raise RecipeInvalid("layer recipe is of another version", kind=recipe[0])


def _recompress_zstd(recipe: bytes, tar_chunks: Iterable[Data]) -> Iterator[bytes]:
    reader = WireReader(recipe, "layer recipe")
    setting = ZstdSetting.read(reader)
    size = reader.number(MAX_OUTPUT, "content size") if setting.sized else 0
    reader.done()
    encoder = setting.encoder(BundledLibrary(), size)
    for chunk in tar_chunks:
        if out := encoder.feed(memoryview(chunk)):
            yield out
    yield encoder.finish()


def zstd_library_version() -> str:
    """Version of libzstd whose layers can be rebuilt here."""
    return zstd.LIBZSTD
