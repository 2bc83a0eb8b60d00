"""Whole compressed layers, streamed in and out."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from pathlib import Path

import pytest

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import RecipeInvalid
from smidgen_deltas.engine.unpackers.layer import analyze_gzip_layer, recompress_layer
from smidgen_deltas.errors import FormatError
from support.unpack_samples import PLAIN

DATA = Path(__file__).parent.parent / "data" / "unpack"
TAR = vectors.plain(700_000)


def zstd_stream(plain: bytes, level: int, *, workers: int = 0, sized: bool = False) -> bytes:
    options: dict[int, int] = {
        zstd.Parameter.compression_level: level,
        zstd.Parameter.nb_workers: workers,
        zstd.Parameter.checksum_flag: 1,
    }
    encoder = zstd.Compressor(options=options)
    if sized:
        encoder.set_pledged_input_size(len(plain))
    return b"".join(encoder.compress(plain[at : at + 50_000]) for at in range(0, len(plain), 50_000)) + encoder.flush()


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(gzip.compress(TAR, 6, mtime=0), id="python gzip"),
        pytest.param(gzip.compress(TAR[:300_000]) + gzip.compress(TAR[300_000:]), id="two members"),
        pytest.param(gzip.compress(TAR) + bytes(512), id="zeros behind"),
        pytest.param(zstd_stream(TAR, 3), id="zstd 3"),
        pytest.param(zstd_stream(TAR, 9, workers=2, sized=True), id="zstd 9 threaded sized"),
        pytest.param(zstd_stream(TAR[:100], 3), id="small zstd"),
    ],
)
def test_layers_come_back(layer: bytes) -> None:
    plain = b"".join(zstd.stream_decompress(io.BytesIO(layer), 1 << 20)) if layer[0] == 0x28 else gzip.decompress(layer)
    recipe = analyze_gzip_layer(io.BytesIO(layer))
    assert recipe is not None
    assert len(recipe) < 600
    assert b"".join(recompress_layer(recipe, (plain[:1000], plain[1000:], b""))) == layer


def test_layers_of_go_tools_come_back() -> None:
    for name in ("go-compress-gzip-6.gz", "go-pgzip-default.gz"):
        layer = (DATA / name).read_bytes()
        recipe = analyze_gzip_layer(io.BytesIO(layer))
        assert recipe is not None
        assert len(recipe) < 40
        assert b"".join(recompress_layer(recipe, (gzip.decompress(layer),))) == layer


@pytest.mark.parametrize(
    "layer",
    [
        b"",
        b"plain tar" * 100,
        gzip.compress(PLAIN)[:-9],
        gzip.compress(PLAIN)[:-1],
        gzip.compress(PLAIN)[:10] + b"\xff" * 500,
        zstd_stream(PLAIN, 3)[:-5],
        zstd_stream(PLAIN, 3) + b"more",
        zstd_stream(TAR, 3) + zstd_stream(TAR, 3),
    ],
)
def test_what_is_no_whole_layer_is_none(layer: bytes) -> None:
    assert analyze_gzip_layer(io.BytesIO(layer)) is None


def test_zstd_of_another_encoder_is_none() -> None:
    layer = bytearray(zstd_stream(TAR, 3))
    layer[len(layer) // 2] ^= 1  # as good as another encoder: no setting gives it
    assert analyze_gzip_layer(io.BytesIO(bytes(layer))) is None


@pytest.mark.parametrize("recipe", [b"", b"\x01", b"\x02", b"\x03abc", b"\x02\xff\xff\xff", b"\x01\x01\x00"])
def test_bad_recipes_are_refused(recipe: bytes) -> None:
    with pytest.raises(FormatError):
        b"".join(recompress_layer(recipe, (PLAIN,)))


def test_another_tar_gives_other_bytes_or_an_error() -> None:
    layer = gzip.compress(TAR)
    recipe = analyze_gzip_layer(io.BytesIO(layer))
    assert recipe is not None
    assert b"".join(recompress_layer(recipe, (TAR[:-1],))) != layer
    two = analyze_gzip_layer(io.BytesIO(layer + layer))
    assert two is not None
    with pytest.raises(RecipeInvalid):
        b"".join(recompress_layer(two, (TAR[:1000],)))


def test_rebuilding_holds_little() -> None:
    """A layer of 60 MB is rebuilt in Python memory that does not grow with it."""
    block = PLAIN + bytes(900_000)
    encoder = zlib.compressobj(1, zlib.DEFLATED, 31)
    layer = b"".join(encoder.compress(block) for _ in range(60)) + encoder.flush()
    recipe = analyze_gzip_layer(io.BytesIO(layer))
    assert recipe is not None
    tracemalloc.start()
    size = sum(len(part) for part in recompress_layer(recipe, (block for _ in range(60))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == len(layer)
    assert peak < 8 << 20
