"""Symbols by what they mean: the kernel against a plain description of it, on tables of any content."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas.kernels.symbols import SymbolTable, meanings, places, renumber

SECTIONS = [b"\1.text", b"\1.data", b"\1"]
SYMBOL = st.tuples(
    st.integers(0, 80), st.sampled_from([0, 1, 2, 3, 0x13]), st.integers(0, 4) | st.integers(0, 65535)
).map(lambda one: one[0].to_bytes(4, "little") + bytes((one[1], 0)) + one[2].to_bytes(2, "little") + bytes(16))
STRINGS = st.lists(st.sampled_from([b"a", b"b\0", b"init_module\0", b"\0", b"x" * 300]), max_size=8).map(b"".join)


def _described(symbols: list[bytes], strings: bytes) -> list[bytes]:
    found = []
    for symbol in symbols:
        at, section = int.from_bytes(symbol[:4], "little"), int.from_bytes(symbol[6:8], "little")
        if symbol[4] & 15 == 3 and section < len(SECTIONS):
            found.append(SECTIONS[section])
        else:
            found.append(strings[at : at + 256].partition(b"\0")[0])
    return found


def _table(symbols: list[bytes], strings: bytes) -> SymbolTable:
    image = b"head" + b"".join(symbols) + strings
    return SymbolTable(image, (4, len(symbols)), (4 + 24 * len(symbols), len(strings)), SECTIONS)


@settings(max_examples=200, deadline=None)
@given(st.lists(SYMBOL, max_size=40), STRINGS, st.lists(SYMBOL, max_size=40), STRINGS, st.integers(256, 1 << 60))
def test_renumbered(old: list[bytes], old_strings: bytes, new: list[bytes], new_strings: bytes, base: int) -> None:
    places_of: dict[tuple[bytes, int], int] = {}
    seen: Counter[bytes] = Counter()
    for number, name in enumerate(_described(new, new_strings)):
        places_of[name, seen[name]] = number
        seen[name] += 1
    expected = []
    seen.clear()
    for name in _described(old, old_strings):
        expected.append(places_of.get((name, seen[name]), -1))
        seen[name] += 1
    out = array("i", bytes(4 * len(old)))
    renumber(_table(old, old_strings), _table(new, new_strings), base, out)
    assert list(out) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(SYMBOL, max_size=40), STRINGS)
def test_meanings_and_places(symbols: list[bytes], strings: bytes) -> None:
    out, where = array("I", bytes(4 * len(symbols))), array("q", bytes(8 * len(symbols)))
    meanings(_table(symbols, strings), out)
    assert list(out) == [zlib.crc32(name) for name in _described(symbols, strings)]
    places(_table(symbols, strings), array("q", (64, -1)), where)
    sections = [int.from_bytes(one[6:8], "little") if one[4] & 15 == 3 else 9 for one in symbols]
    assert list(where) == [{0: 64}.get(section, -1) for section in sections]


@pytest.mark.parametrize(
    ("symbols", "strings"),
    [((4, 2), (0, 0)), ((-1, 0), (0, 0)), ((0, 1), (20, 9)), ((40, 1), (0, 1)), ((0, 0), (29, 0))],
)
def test_tables_outside_of_the_image_are_refused(symbols: tuple[int, int], strings: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the image"):
        SymbolTable(bytes(28), symbols, strings, [])
