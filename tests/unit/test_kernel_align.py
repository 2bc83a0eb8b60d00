"""The alignment kernel keeps its promises, and is as good as a slow and simple one on small inputs."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

import pytest

from smidgen_deltas.kernels.align import align
from smidgen_deltas.kernels.patching import add, subtract


def blocks_of(old: bytes, new: bytes, depth: int = 32, step: int = 1) -> list[tuple[int, int, int]]:
    found = array("q", align(old, new, depth, step))
    return list(zip(found[0::3], found[1::3], found[2::3], strict=True))


def check(old: bytes, new: bytes, blocks: list[tuple[int, int, int]]) -> None:
    end = 0
    for at, old_at, length in blocks:
        assert at >= end
        assert length > 0
        assert at + length <= len(new)
        assert 0 <= old_at <= len(old) - length
        end = at + length


def longest_match(old: bytes, new: bytes, at: int) -> int:
    """By looking everywhere."""
    best = 0
    for start in range(len(old)):
        length = 0
        while start + length < len(old) and at + length < len(new) and old[start + length] == new[at + length]:
            length += 1
        best = max(best, length)
    return best


def changed(rng: random.Random, data: bytes) -> Iterator[bytes]:
    for size in (0, 1, 9, 200):
        at = rng.randrange(len(data))
        yield data[:at] + rng.randbytes(size) + data[at:]
        yield data[:at] + data[at + size :]
        yield data[at:] + data[:at]


@pytest.mark.parametrize("alphabet", [2, 5, 256])
@pytest.mark.parametrize(("depth", "step"), [(1, 1), (24, 1), (8, 4), (96, 3)])
def test_blocks_ascend_and_stay_inside(alphabet: int, depth: int, step: int) -> None:
    rng = random.Random(alphabet)
    for size in (1, 7, 8, 9, 300, 2000):
        old = bytes(rng.choices(range(alphabet), k=size))
        for new in changed(rng, old):
            check(old, new, blocks_of(old, new, depth, step))


def test_every_long_match_is_covered() -> None:
    """What has a match of 24 bytes or more somewhere lies in a block, or is reached by one within those bytes."""
    rng = random.Random(3)
    old = rng.randbytes(500)
    for new in changed(rng, old):
        covered = bytearray(len(new))
        for at, _, length in blocks_of(old, new):
            covered[at : at + length] = b"\1" * length
        for at in range(len(new)):
            if longest_match(old, new, at) >= 24:
                assert covered[at]


def test_empty_sides() -> None:
    assert blocks_of(b"", b"abc") == blocks_of(b"abc", b"") == []


def test_differences_mod_256() -> None:
    rng = random.Random(5)
    new, base = rng.randbytes(999), rng.randbytes(999)
    out = bytearray(999)
    subtract(new, base, out)
    assert out == bytes((one - other) % 256 for one, other in zip(new, base, strict=True))
    target = bytearray(base)
    add(target, out)
    assert target == new


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        add(bytearray(2), b"abc")
    with pytest.raises(ValueError, match="lengths differ"):
        subtract(b"abc", b"ab", bytearray(3))
