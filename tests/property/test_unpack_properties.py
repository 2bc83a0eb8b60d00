"""Whatever the content and the encoder's settings: rebuilt exactly. Whatever the damage: an error or other bytes."""

from __future__ import annotations

import zlib
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas.engine.unpackers import registry, vectors
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer, DeflateRecipe, rebuild
from smidgen_deltas.errors import FormatError

BUDGET = Budget(output=1 << 22, seconds=20, share=2.0)
MAGICS = (b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh9", b"070701", b"!<arch>\n", b"\x1f\x8b\x08", b"PK\3\4", b"x\x9c")
SOURCE = vectors.plain(30_000)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Text, noise, runs and repetitions, in turn."""
    out = bytearray()
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            start = draw(st.integers(0, len(SOURCE) - 1))
            out += SOURCE[start : start + draw(st.integers(1, 4000))]
        elif kind == 1:
            out += draw(st.binary(max_size=300))
        elif kind == 2:
            out += bytes((draw(st.integers(0, 255)),)) * draw(st.integers(1, 3000))
        elif out:
            start = draw(st.integers(0, len(out) - 1))
            out += out[start : start + draw(st.integers(1, 40_000))]
    return bytes(out)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(content, raw deflate stream) with flushes between."""
    level, memory, strategy = draw(st.integers(0, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 4))
    encoder = zlib.compressobj(level, zlib.DEFLATED, -draw(st.integers(9, 15)), memory, strategy)
    plain = packed = b""
    for part in draw(st.lists(contents(), min_size=1, max_size=3)):
        plain += part
        packed += encoder.compress(part)
        packed += encoder.flush(draw(st.sampled_from([zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, 1])))
    return plain, packed + encoder.flush()


def take_apart(packed: bytes, step: int) -> tuple[DeflateRecipe, bytes]:
    analyzer = DeflateAnalyzer(BUDGET.start())
    plain = b"".join(analyzer.feed(packed[at : at + step]) for at in range(0, len(packed), step))
    plain += analyzer.close()
    return analyzer.recipe(), plain


@settings(max_examples=60, deadline=None)
@given(streams(), st.integers(1, 5000), st.integers(1, 50_000))
def test_deflate_comes_back(stream: tuple[bytes, bytes], packed_step: int, plain_step: int) -> None:
    plain, packed = stream
    recipe, found = take_apart(packed, max(packed_step, len(packed) // 200))
    assert found == plain
    again = DeflateRecipe.decode(recipe.encode())
    step = max(plain_step, len(plain) // 200 + 1)
    assert b"".join(rebuild(again, (plain[at : at + step] for at in range(0, len(plain), step)))) == packed


@settings(max_examples=60, deadline=None)
@given(streams(), st.data())
def test_damaged_recipes_give_other_bytes_or_an_error(stream: tuple[bytes, bytes], data: st.DataObject) -> None:
    plain, packed = stream
    recipe = bytearray(take_apart(packed, 1 << 16)[0].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        recipe[data.draw(st.integers(0, len(recipe) - 1))] = data.draw(st.integers(0, 255))
    recipe += data.draw(st.binary(max_size=20))
    try:
        parts = [len(part) for part in islice(rebuild(DeflateRecipe.decode(bytes(recipe)), (plain,)), 4)]
    except FormatError:
        return
    assert max(parts, default=0) < 4 << 20  # more may follow; the caller stops at the size that it knows


@settings(max_examples=60, deadline=None)
@given(streams(), st.data())
def test_damaged_streams_are_refused_or_rebuilt(stream: tuple[bytes, bytes], data: st.DataObject) -> None:
    packed = bytearray(stream[1])
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        analyzer = DeflateAnalyzer(BUDGET.start())
        plain = analyzer.feed(packed) + analyzer.close()
        used = len(packed) - len(analyzer.unused())
        recipe = analyzer.recipe()
    except FormatError:
        return
    assert b"".join(rebuild(recipe, (plain,))) == packed[:used]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(MAGICS), st.binary())
def test_unpacking_noise_is_harmless(magic: bytes, noise: bytes) -> None:
    found = registry.unpack(magic + noise, BUDGET)
    if found:
        assert b"".join(registry.repack(found.name, found.version, found.recipe, found.streams)) == magic + noise


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(unpacker.name, unpacker.version) for unpacker in registry.UNPACKERS]),
    st.binary(max_size=60),
    st.lists(st.binary(max_size=100), max_size=3),
)
def test_repacking_noise_is_a_typed_error(kind: tuple[str, int], recipe: bytes, inner: list[bytes]) -> None:
    try:
        list(registry.repack(*kind, recipe, inner, limit=1 << 20))
    except FormatError:
        return
