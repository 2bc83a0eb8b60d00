"""Files put together from the blocks of an alignment: as a plain loop does it, and nothing outside of a buffer."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.kernels.patching import assemble, complete, spread

OLD = bytes(range(40, 60))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12), st.integers(0, 8)), max_size=8), st.integers(0, 5))
def test_blocks_go_where_they_belong(steps: list[tuple[int, int, int]], rest: int) -> None:
    blocks, expected, apart = array("q"), bytearray(), bytearray()
    diff, extra = bytearray(), bytearray()
    for gap, old_at, length in [*steps, (rest, 0, 0)]:
        between = bytes(range(100, 100 + gap))
        extra += between
        expected += between
        apart += bytes(gap)
        blocks.extend((len(expected), old_at, length))
        differences = bytes(250 + number % 6 for number in range(length))
        diff += differences
        apart += differences
        expected += bytes((old + add) % 256 for old, add in zip(OLD[old_at:], differences, strict=False))
    out = bytearray(len(expected))
    assemble(OLD, blocks, diff, extra, out)
    assert out == expected
    spread(blocks, diff, whole := bytearray(len(expected)))
    assert whole == apart
    predicted = bytearray(len(expected))
    for at, old_at, length in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
        predicted[at : at + length] = OLD[old_at : old_at + length]
    complete(blocks, diff, extra, predicted)
    assert predicted == expected


@pytest.mark.parametrize(
    ("blocks", "diff", "extra"),
    [
        ((0, 0), b"12", b"345678"),  # no triple
        ((0, 0, 4), b"1234", b"567"),  # shorter than the file
        ((0, 18, 4), b"1234", b"5678"),  # beyond the old file
        ((0, -1, 4), b"1234", b"5678"),
        ((6, 0, 4), b"1234", b"5678"),  # beyond the new one
        ((-1, 0, 4), b"1234", b"5678"),
        ((0, 0, -1), b"", b"12345678"),
        ((0, 0, 3, 2, 0, 1), b"1234", b"5678"),  # over one another
        ((0, 0, 5), b"1234", b"5678"),  # more than there is
        ((0, 0, 3), b"1234", b"5678"),  # less
        ((0, 0, 1 << 62), b"1234", b"5678"),
        ((1 << 62, 1 << 62, 1 << 62), b"1234", b"5678"),
    ],
)
def test_what_does_not_fit_is_refused(blocks: tuple[int, ...], diff: bytes, extra: bytes) -> None:
    with pytest.raises(ValueError, match=r"block|streams|triples"):
        assemble(OLD, array("q", blocks), diff, extra, bytearray(8))
    within = len(blocks) == 3 and 0 <= blocks[1] <= len(OLD) - blocks[2]
    if within and len(diff) + len(extra) == 8:
        with pytest.raises(ValueError, match="block"):
            spread(array("q", blocks), diff, bytearray(8))
