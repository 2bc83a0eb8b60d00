"""Kernel modules: tables of references cost next to nothing when what they refer to moved."""

from __future__ import annotations

import random
import struct
from array import array
from pathlib import Path

import pytest

from smidgen_deltas.engine import relocatable
from smidgen_deltas.engine.patch import PLAIN, TABLES, Patch, PatchCorrupt, apply_patch, make_patch, weight
from smidgen_deltas.kernels.relocatable import TableCoder, blank_relocations, blank_symbols, blank_types
from support.elf_images import functions, grow
from support.elf_objects import BTF, RELA_TEXT, SYMTAB
from support.elf_objects import relocatable as build

MADE = functions(11, 200)
OLD = build(MADE)


def roundtrip(old: bytes, new: bytes, effort: str = "default") -> Patch:
    patch = make_patch(old, new, effort)
    assert b"".join(apply_patch(patch, old, len(new))) == new
    return patch


@pytest.mark.parametrize("effort", ["fast", "default", "best"])
def test_a_function_grew(effort: str) -> None:
    patch = roundtrip(OLD, build(grow(MADE, 20, bytes(range(0x20, 0x60)))), effort)
    assert patch.transform == TABLES
    assert weight(patch) < 250


def test_the_kernel_has_other_types() -> None:
    patch = roundtrip(OLD, build(MADE, 1017, 50123))
    assert patch.transform == TABLES
    assert len(patch.diff) - patch.diff.count(0) < 60
    assert weight(patch) < 120


def test_a_function_was_added_in_the_middle() -> None:
    """Then all behind it have other names, numbers and callees."""
    patch = roundtrip(OLD, build(MADE[:60] + functions(12, 1) + MADE[60:]))
    assert patch.transform == TABLES
    assert weight(patch) < 1100


def test_the_parser_finds_the_tables() -> None:
    found = relocatable.parse(OLD)
    assert found is not None
    assert found.names[1:5] == [b"\1.text", b"\1.rela.text", b"\1.data", b"\1.rela.data"]
    assert (found.symtab, found.strtab) == (6, 7)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (16, b"\2\0"),  # an executable
        (18, b"\3\0"),  # another machine
        (40, b"\xff" * 8),  # no section table
        (60, b"\xff\xff"),  # more sections than there are
        (62, b"\xff\xff"),  # no names
    ],
)
def test_what_is_odd_is_just_bytes(at: int, value: bytes) -> None:
    odd = OLD[:at] + value + OLD[at + len(value) :]
    assert relocatable.parse(odd) is None
    assert roundtrip(odd, OLD).transform == roundtrip(OLD, odd).transform == PLAIN


def test_sections_that_overlap_come_out_right() -> None:
    """A table over the section headers would change what the decoder reads them from."""
    found = relocatable.parse(OLD)
    assert found is not None
    (headers,) = struct.unpack_from("<Q", OLD, 40)
    for number in (RELA_TEXT, SYMTAB, BTF):
        for start in (0, headers, headers + 64 * number - 24):
            odd = bytearray(OLD)
            struct.pack_into("<QQ", odd, headers + 64 * number + 24, start, len(OLD) - start)
            roundtrip(bytes(odd), bytes(odd[:-1] + b"?"))
            roundtrip(OLD, bytes(odd))
            roundtrip(bytes(odd), OLD)


def test_a_patch_of_tables_needs_tables() -> None:
    with pytest.raises(PatchCorrupt, match="tables in a file that has none"):
        apply_patch(Patch(TABLES, b"\1\0\0\2", b"xyz", b""), b"abc", 3)


def test_the_kernel_checks_what_it_is_given() -> None:
    def numbers(*values: int) -> array[int]:
        return array("q", values)

    data, one = bytes(100), numbers(0)
    whole, sections = numbers(0, 0, 100), numbers(0, 0, 0, 0, 0, 0, 0, 48, 0, 48, 1, 0)
    for blocks, order, rows in (
        (numbers(0, 0), numbers(), sections),
        (numbers(0, 0, 101), one, sections),
        (numbers(0, 1, 100), one, sections),
        (numbers(-1, 0, 9), one, sections),
        (numbers(0, -1, 9), one, sections),
        (numbers(0, 0, 0), one, sections),
        (numbers(5, 0, 5, 9, 0, 5), numbers(0, 1), sections),
        (whole, numbers(1), sections),
        (whole, numbers(0, 0), sections),
        (whole, one, numbers(0, 0, 0, 0, 0, 0, 60, 48, 0, 48, 1, 0)),
        (whole, one, numbers(0, 0, 0, 0, 0, 0, 0, -1, 0, 48, 1, 0)),
    ):
        with pytest.raises(ValueError, match="block|section|sizes|nothing"):
            TableCoder(data, bytearray(100), bytearray(100), blocks, order, rows, 1)
    coder = TableCoder(data, bytearray(100), bytearray(100), whole, one, sections, 1)
    with pytest.raises(ValueError, match="no such table"):
        coder.symbols(2, 0, numbers())
    with pytest.raises(ValueError, match="no such table"):
        coder.types(0, 0, 8)
    with pytest.raises(ValueError, match="more symbols"):
        coder.relocations(1, 1, 1, array("i", range(3)))
    with pytest.raises(ValueError, match="leave their section"):
        coder.types(1, 8, 48)
    with pytest.raises(ValueError, match="leave the image"):
        blank_types(bytearray(20), 8, 16)
    with pytest.raises(ValueError, match="leave the image"):
        blank_symbols(bytearray(20), 0, array("I", (1,)))
    with pytest.raises(ValueError, match="leave the image"):
        blank_relocations(bytearray(20), 8, 24, array("I"), numbers(), 0)


def test_real_modules_of_this_machine() -> None:
    """If there are any; each against itself with some bytes more in front of its last quarter."""
    for path in sorted(Path("/lib/modules").rglob("*.ko"))[:5]:
        data = path.read_bytes()
        at = len(data) // 4 * 3
        roundtrip(data, data[:at] + random.Random(1).randbytes(24) + data[at:])
