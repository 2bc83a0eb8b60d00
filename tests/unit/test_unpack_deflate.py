"""Deflate streams of many encoders, taken apart and written again."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import Budget, BudgetSpent, RecipeInvalid
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer, DeflateRecipe, rebuild
from smidgen_deltas.engine.unpackers.deflate_models import MODELS
from smidgen_deltas.engine.unpackers.gzip_stream import GzipAnalyzer, GzipRecipe, rebuild_gzip
from support.unpack_samples import PLAIN, deflate

DATA = Path(__file__).parent.parent / "data" / "unpack"


def take_apart(packed: bytes, step: int = 10_000, share: float = 1.0) -> tuple[DeflateRecipe, bytes]:
    analyzer = DeflateAnalyzer(Budget(share=share).start())
    plain = [analyzer.feed(packed[at : at + step]) for at in range(0, len(packed), step)]
    plain.append(analyzer.close())
    assert analyzer.unused() == b""
    return analyzer.recipe(), b"".join(plain)


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


@pytest.mark.parametrize("memory", [8, 9])
@pytest.mark.parametrize("level", range(1, 10))
def test_zlib_needs_no_corrections(level: int, memory: int) -> None:
    packed = deflate(level=level, memory=memory)
    recipe, plain = take_apart(packed)
    assert plain == PLAIN
    assert recipe.corrections == b""
    assert b"".join(rebuild(recipe, (plain,))) == packed


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(deflate(memory=1), id="memLevel 1"),
        pytest.param(deflate(memory=5), id="memLevel 5"),
        pytest.param(deflate(strategy=zlib.Z_FILTERED), id="filtered"),
        pytest.param(deflate(strategy=zlib.Z_HUFFMAN_ONLY), id="huffman"),
        pytest.param(deflate(strategy=zlib.Z_RLE), id="run lengths"),
        pytest.param(deflate(strategy=zlib.Z_FIXED), id="fixed codes"),
        pytest.param(deflate(level=0), id="stored"),
        pytest.param(deflate(PLAIN[:9000], bits=9), id="small window"),
        pytest.param(deflate(b""), id="empty"),
        pytest.param(deflate(b"x"), id="one byte"),
        pytest.param(deflate(bytes(500_000)), id="zeros"),
        pytest.param(deflate(PLAIN[:5000] + zlib.compress(PLAIN, 9) * 3 + PLAIN[:5000]), id="incompressible middle"),
    ],
)
def test_every_stream_is_rebuilt(packed: bytes) -> None:
    recipe, plain = take_apart(packed)
    assert plain == zlib.decompress(packed, -15)
    assert b"".join(rebuild(recipe, (plain,))) == packed


@pytest.mark.parametrize("kinds", [(2,), (3,), (1,), (2, 3), (2, 2, 2)])
def test_flushes_are_segments(kinds: tuple[int, ...]) -> None:
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = b""
    for start, end in pairwise(range(0, 60_001, 12_000)):
        packed += encoder.compress(PLAIN[start:end]) + b"".join(encoder.flush(kind) for kind in kinds)
    packed += encoder.flush()
    recipe, plain = take_apart(packed)
    assert sum(count for _, count in recipe.segments) >= 5
    assert b"".join(rebuild(recipe, (plain,))) == packed


@pytest.mark.parametrize("step", [1, 7, 5000])
def test_portions_do_not_matter(step: int) -> None:
    packed = deflate(PLAIN[:20_000], level=7)
    recipe, plain = take_apart(packed, step)
    assert plain == PLAIN[:20_000]
    assert b"".join(rebuild(recipe, pieces(plain, step))) == packed


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("go-compress-gzip-6.gz", True),
        ("go-pgzip-default.gz", True),
        ("pigz-6.gz", True),
        ("go-klauspost-6.gz", False),
        ("libdeflate-9.gz", False),
        ("zopfli.gz", False),
        ("7zip.gz", False),
    ],
)
def test_other_encoders(name: str, exact: bool) -> None:
    packed = (DATA / name).read_bytes()
    analyzer = GzipAnalyzer(Budget(share=0.3).start())
    plain = b"".join(analyzer.feed(piece) for piece in pieces(packed, 3000)) + analyzer.close()
    recipe = analyzer.recipe()
    assert plain == gzip.decompress(packed)
    assert b"".join(rebuild_gzip(recipe, pieces(plain, 100_000))) == packed
    assert GzipRecipe.decode(recipe.encode()).encode() == recipe.encode()
    assert not exact or len(recipe.members[0].deflate.corrections) < 12


def test_corrections_over_the_share_give_up() -> None:
    packed = (DATA / "zopfli.gz").read_bytes()[10:-8]
    with pytest.raises(BudgetSpent):
        take_apart(packed, share=0.0)


def test_a_long_stream_is_held_in_bounded_memory() -> None:
    encoder = zlib.compressobj(1, zlib.DEFLATED, -15)
    analyzer = DeflateAnalyzer(Budget().start())
    size = held = 0
    for _ in range(64):
        block = encoder.compress(PLAIN) + encoder.compress(bytes(200_000))
        size += len(PLAIN) + 200_000
        held = max(held, size - analyzer.plain_size - len(analyzer.feed(block)))
    analyzer.feed(encoder.flush())
    assert analyzer.done
    assert held < 8 << 20


def test_endless_empty_blocks_are_refused() -> None:
    analyzer = DeflateAnalyzer(Budget().start())
    with pytest.raises(RecipeInvalid):
        for _ in range(20):
            analyzer.feed(b"\x00\x00\x00\xff\xff" * 20_000)


@pytest.mark.parametrize("end", [0, 1, 5, 1000, -1])
def test_truncated_streams_are_refused(end: int) -> None:
    with pytest.raises(RecipeInvalid):
        take_apart(deflate()[:end])


def test_what_no_encoder_writes_is_refused() -> None:
    for packed in (b"\x07", b"\x01\x01\x00\x00\x00", b"\x05\xff\xff\xff", b"\x21\x00\x00\xff\xff"):
        with pytest.raises(RecipeInvalid):
            take_apart(packed)


def test_other_plain_bytes_never_crash() -> None:
    packed = (DATA / "zopfli.gz").read_bytes()[10:-8]
    recipe, plain = take_apart(packed)
    for other in (b"", plain[:-1], plain + b"x", plain[::-1], vectors.plain(70_000)[10_000:]):
        try:
            assert b"".join(rebuild(recipe, (other,))) != packed
        except RecipeInvalid:
            continue


def test_recipes_are_strict() -> None:
    recipe = take_apart(deflate())[0].encode()
    assert DeflateRecipe.decode(recipe).encode() == recipe
    for bad in (bytes((len(MODELS), 0, 0, 0)), bytes((0, 3, 0, 0)), bytes((0, 32, 0, 0)), b"\0", b"\0\0\0\x05"):
        with pytest.raises(Exception, match="recipe"):
            DeflateRecipe.decode(bad)
