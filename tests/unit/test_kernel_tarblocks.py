"""Blocks of tars compared: what comes out turns one into the other, says no more than it must, and checks its input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.kernels.tarblocks import changes, checksum
from support import tars

BLOCK = 512
SIZE, SUM = range(124, 136), range(148, 156)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, ...]:
    """A block and what it resembles: from nearly the same to nothing in common."""
    base = bytearray(draw(st.sampled_from([bytes(BLOCK), tars.header(b"usr/bin/a", 7), b"\1\2" * 256])))
    made = []
    for _ in range(draw(st.integers(2, 9))):
        for at, part in draw(st.lists(st.tuples(st.integers(0, BLOCK - 1), st.binary(max_size=300)), max_size=4)):
            base[at : at + len(part)] = part[: BLOCK - at]
        made.append(bytes(base))
    return tuple(made)


@given(blocks(), st.booleans(), st.booleans())
def test_changes_make_the_block(made: tuple[bytes, ...], without_sum: bool, without_size: bool) -> None:  # noqa: FBT001
    *bases, block = made
    number, runs, changed = changes(block, tuple(bases), without_sum, without_size)
    alike = [sum(map(int.__eq__, block, base)) for base in bases]
    assert number == alike.index(max(alike))
    left_out = {*(SUM if without_sum else ()), *(SIZE if without_size else ())}
    found = bytearray(bases[number])
    at = used = 0
    for stay, length in zip(runs[0::2], runs[1::2], strict=True):
        at += stay
        found[at : at + length] = changed[used : used + length]
        at, used = at + length, used + length
    assert used == len(changed)
    assert [place for place in range(BLOCK) if found[place] != block[place]] == [
        place for place in sorted(left_out) if found[place] != block[place]
    ]


def test_neighbouring_changes_are_one() -> None:
    block = bytearray(BLOCK)
    for at in (10, 13, 17, 500):
        block[at] = 1
    assert changes(bytes(block), (bytes(BLOCK),), False, False) == (  # noqa: FBT003
        0,
        bytes((10, 4, 3, 1, 255, 0, 227, 1)),
        b"\1\0\0\1\1\1",
    )


@given(blocks())
def test_checksum_counts_its_field_as_blanks(made: tuple[bytes, ...]) -> None:
    for block in made:
        assert checksum(block) == sum(block[: SUM.start]) + 8 * ord(" ") + sum(block[SUM.stop :])


@pytest.mark.parametrize("wrong", [b"", bytes(BLOCK - 1), bytes(BLOCK + 1)])
def test_what_is_no_block_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="block"):
        checksum(wrong)
    for block, bases in ((wrong, (bytes(BLOCK),)), (bytes(BLOCK), (bytes(BLOCK), wrong))):
        with pytest.raises(ValueError, match="block"):
            changes(block, bases, False, False)  # noqa: FBT003
    with pytest.raises(ValueError, match="nothing"):
        changes(bytes(BLOCK), (), False, False)  # noqa: FBT003
