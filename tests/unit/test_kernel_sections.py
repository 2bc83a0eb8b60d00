"""Section headers as rows: the kernel against a plain description, and nothing outside of the file."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.kernels.sections import meanings, paired, read

HEADER = struct.Struct("<IIQQQQIIQQ")
FRONT = b"\x7fELF" + bytes(60)
STRINGS = b"\0.text\0.data\0" + b"n" * 70 + b"\0.end"
NUMBERS = st.integers(0, 300) | st.sampled_from([1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
SECTION = st.tuples(st.integers(0, 100), st.integers(0, 9), st.integers(0, 7), NUMBERS, NUMBERS, st.integers(0, 9))


def rows_of(count: int) -> array[int]:
    return array("q", bytes(64 * count))


def image(sections: list[tuple[int, ...]], strings_size: int = len(STRINGS)) -> tuple[bytes, int]:
    """A file with its names first, then section headers, of which the first holds the names; where they begin."""
    headers = HEADER.pack(0, 3, 0, 0, len(FRONT), strings_size, 0, 0, 0, 0)
    for name, kind, flags, offset, size, link in sections:
        headers += HEADER.pack(name, kind, flags, 0, offset, size, link, 1, 0, 0)
    return FRONT + STRINGS + headers, len(FRONT + STRINGS)


@given(st.lists(SECTION, max_size=5))
def test_rows_are_what_headers_say(sections: list[tuple[int, ...]]) -> None:
    data, at = image(sections)
    rows = rows_of(1 + len(sections))
    inside = read(data, at, 0, rows)
    assert inside == all(kind in (0, 8) or offset + size <= len(data) for _, kind, _, offset, size, _ in sections)
    if not inside:
        return
    names = meanings(data, rows)
    for number, (name, kind, flags, offset, size, link) in enumerate(sections, 1):
        assert names[number] == b"\1" + STRINGS[name : name + 64].partition(b"\0")[0]
        found = [value % (1 << 64) for value in rows[8 * number + 2 : 8 * number + 8]]
        assert found == [kind, flags, offset, size, link, 1]


@pytest.mark.parametrize(("size", "names"), [(0, [b"\1", b"\1"]), (13, [b"\1.data", b"\1"]), (10, [b"\1.da", b"\1"])])
def test_names_end_with_their_table(size: int, names: list[bytes]) -> None:
    data, at = image([(7, 8, 0, 0, 0, 0), (60, 8, 0, 0, 0, 0)], size)
    rows = rows_of(3)
    assert read(data, at, 0, rows)
    assert meanings(data, rows)[1:] == names


def test_what_is_outside_is_refused() -> None:
    data, at = image([(1, 1, 0, 0, 0, 0)])
    for start, names, count in ((at, 0, 3), (at, 2, 2), (at, -1, 2), (-1, 0, 2), (len(data), 0, 1), (1 << 62, 0, 1)):
        with pytest.raises(ValueError, match="row|headers"):
            read(data, start, names, rows_of(count))
    with pytest.raises(ValueError, match="row"):
        read(data, at, 0, array("q", bytes(8)))
    with pytest.raises(ValueError, match="row"):
        read(b"", 0, 0, array("q"))
    for place in ((len(data), 1), (-1, 1), (0, -1), (0, 65)):
        with pytest.raises(ValueError, match="name"):
            meanings(data, array("q", (*place, 0, 0, 0, 0, 0, 0)))


def test_pairs_say_where_sections_are() -> None:
    old = array("q", (0, 0, 1, 4, 10, 20, 0, 0) + (0, 0, 8, 0, 30, 40, 0, 0) + (0, 0, 1, 0, 50, 60, 0, 0))
    new = array("q", (0, 0, 1, 0, 70, 80, 0, 0) + (0, 0, 1, 0, 90, 95, 0, 0))
    out = array("q", bytes(8 * 18))
    paired(old, new, array("q", (1, 0, -1)), out)
    assert list(out) == [10, 20, 90, 95, 1, 1] + [0] * 12
    for pairs, rows in (((0, 0, 2), out), ((0, 0, -2), out), ((0, 0), out), ((0, 0, 0), out[:12])):
        with pytest.raises(ValueError, match="pair|section"):
            paired(old, new, array("q", pairs), rows)
