"""What every unpacker promises, tried on each of them."""

from __future__ import annotations

import random

import pytest

from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import Budget, Unpacked
from smidgen_deltas.errors import FormatError, LimitExceeded
from support.unpack_samples import SAMPLES

BUDGET = Budget(output=1 << 20, seconds=20)


@pytest.fixture(params=sorted(SAMPLES))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def packed(name: str) -> bytes:
    return SAMPLES[name]()


@pytest.fixture
def unpacked(packed: bytes, name: str) -> Unpacked:
    found = registry.unpack(packed, BUDGET)
    assert found is not None
    assert found.name == name
    return found


def repack(unpacked: Unpacked, recipe: bytes | None = None, limit: int = 1 << 20) -> bytes:
    used = unpacked.recipe if recipe is None else recipe
    return b"".join(registry.repack(unpacked.name, unpacked.version, used, unpacked.streams, limit=limit))


def test_gives_the_same_bytes(packed: bytes, unpacked: Unpacked) -> None:
    assert repack(unpacked) == packed


def test_gives_the_same_recipe_every_time(packed: bytes, unpacked: Unpacked) -> None:
    again = registry.unpack(memoryview(packed), BUDGET)
    assert again is not None
    assert again.recipe == unpacked.recipe


def test_decoding_alone_gives_the_same_streams(packed: bytes, unpacked: Unpacked) -> None:
    found = registry.reveal(unpacked.name, unpacked.version, packed, 1 << 20)
    assert list(map(bytes, found)) == list(map(bytes, unpacked.streams))


def test_decoding_alone_is_bounded(packed: bytes, unpacked: Unpacked) -> None:
    with pytest.raises(LimitExceeded):
        registry.reveal(unpacked.name, unpacked.version, packed, 2)


def test_decoding_damaged_data_is_a_typed_error(packed: bytes, unpacked: Unpacked) -> None:
    chance = random.Random(7)
    for _ in range(20):
        damaged = bytearray(packed[: chance.randrange(1, len(packed) + 1)])
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            registry.reveal(unpacked.name, unpacked.version, damaged, 1 << 22)
        except FormatError:
            continue


def test_says_what_rebuilding_costs(unpacked: Unpacked) -> None:
    found = registry.cost(unpacked.name, unpacked.version, unpacked.recipe)
    assert found.seconds_per_mib > 0
    assert found.memory > 0


def test_stops_at_the_declared_size(packed: bytes, unpacked: Unpacked) -> None:
    with pytest.raises(LimitExceeded):
        repack(unpacked, limit=len(packed) - 1)


def test_refuses_a_recipe_cut_anywhere(unpacked: Unpacked) -> None:
    for size in sorted({*range(min(40, len(unpacked.recipe))), len(unpacked.recipe) - 1}):
        with pytest.raises(FormatError):
            repack(unpacked, unpacked.recipe[:size])


def test_refuses_too_many_streams(unpacked: Unpacked) -> None:
    streams = (*unpacked.streams, b"more")
    with pytest.raises(FormatError):
        list(registry.repack(unpacked.name, unpacked.version, unpacked.recipe, streams))


def test_survives_damaged_recipes(unpacked: Unpacked) -> None:
    chance = random.Random(unpacked.name)
    for _ in range(40):
        recipe = bytearray(unpacked.recipe)
        recipe[chance.randrange(min(64, len(recipe)))] = chance.randrange(256)
        try:
            repack(unpacked, bytes(recipe), limit=1 << 22)
        except FormatError:
            continue


def test_damaged_input_is_left_alone_or_rebuilt_exactly(packed: bytes) -> None:
    chance = random.Random(len(packed))
    for _ in range(12):
        damaged = bytearray(packed)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        found = registry.unpack(bytes(damaged), BUDGET)
        assert found is None or repack(found) == damaged


def test_truncated_input_is_left_alone_or_rebuilt_exactly(packed: bytes) -> None:
    for size in (1, 7, len(packed) // 2, len(packed) - 1):
        found = registry.unpack(packed[:size], BUDGET)
        assert found is None or repack(found) == packed[:size]


def test_a_small_budget_means_none(packed: bytes) -> None:
    assert registry.unpack(packed, Budget(output=2)) is None


def test_no_time_means_none(packed: bytes) -> None:
    assert registry.unpack(packed, Budget(seconds=-1)) is None


def test_self_test_passes(name: str) -> None:
    (found,) = registry.self_test(frozenset((name,)))
    assert found.ok, found.detail
