"""Relocatable ELF objects, such as kernel modules: which of their tables are coded field by field.

Their delta is nearly all tables of references: relocations, symbols and type records (BTF). Both sides are parsed the
same way, the new side from bytes that are exact before any table is coded: headers and strings. So encoder and decoder
agree on what is coded, and nothing about it needs to be sent. What is odd is just not coded.

Sources: System V ABI, chapter 4 (headers, symbols, relocations); Linux, Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from smidgen_deltas.engine.elf import AARCH64, X86_64
from smidgen_deltas.kernels import sections, symbols
from smidgen_deltas.kernels.relocatable import TableCoder, blank_relocations, blank_symbols, blank_types

Buffer = bytes | bytearray | memoryview

MAX_SECTIONS: Final = 1024
MAX_SYMBOLS: Final = 1 << 18
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = 64  # bytes of a header
_COLUMNS, _KIND, _PAIRED = 8, 2, 6  # of rows, see kernels.sections
_BTF: Final = struct.Struct("<HBBIIIII")
_NULL, _SYMTAB, _STRTAB, _RELA, _NOBITS = 0, 2, 3, 4, 8
_EMPTY: Final = frozenset({_NULL, _NOBITS})
_BTF_NAME: Final = b"\1.BTF"
_SECRET: Final = 1 << 32 | int.from_bytes(os.urandom(7))  # for hashing names
_EXECUTABLE: Final = 4


class Section(NamedTuple):
    """A section header. Offset and size lie inside the file if the section holds bytes."""

    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int

    @property
    def holds_bytes(self) -> bool:
        return self.kind not in _EMPTY


@dataclass(frozen=True, slots=True)
class Object:
    """A relocatable object.

    Args:
        rows: its section headers, as `kernels.sections` reads them.
        names: of each section, behind a byte 1.
        symtab, strtab: section numbers, 0 when there are none.
    """

    rows: array[int]
    names: list[bytes]
    symtab: int
    strtab: int

    @property
    def kinds(self) -> array[int]:
        return self.rows[_KIND::_COLUMNS]

    def section(self, number: int) -> Section:
        return Section(*self.rows[_COLUMNS * number + _KIND : _COLUMNS * (number + 1)])


def parse(data: Buffer) -> Object | None:
    """None unless `data` is a relocatable little-endian ELF64 object whose sections lie inside it."""
    view = memoryview(data)
    try:
        return _parse(view)
    except (struct.error, OverflowError):
        return None


def blank(data: Buffer, found: Object) -> bytearray:
    """A copy in which fields of tables say what they refer to, not where: for aligning, by the encoder only."""
    out = bytearray(data)
    view = memoryview(data)
    if found.symtab:
        table, count = _symbols(view, found)
        known, places = array("I", bytes(4 * count)), array("q", bytes(8 * count))
        symbols.meanings(table, known)
        every = map(found.section, range(len(found.names)))
        symbols.places(table, array("q", (one.offset if one.holds_bytes else -1 for one in every)), places)
        for _, section in _tables(found):
            bias = 4 if found.section(section.info).flags & _EXECUTABLE else 0
            blank_relocations(out, section.offset, section.size, known, places, bias)
        blank_symbols(out, found.section(found.symtab).offset, known)
    for _, start, size in _types(view, found):
        blank_types(out, start, size)
    return out


def code(
    old: Buffer, first: Object, new: bytearray, diff: bytearray, blocks: array[int], order: array[int], decoding: int
) -> None:
    """Code all tables: complete `new` from `diff` (decoding = 1) or fill `diff` from `new` (0).

    Outside the tables both are given. Nothing is coded when the new file is no object.
    """
    second = parse(new)
    if second is None or not len(old) or not blocks:
        return
    pairs = _matched(first, second)
    rows = array("q", bytes(8 * _PAIRED * len(pairs)))
    sections.paired(first.rows, second.rows, pairs, rows)
    coder = TableCoder(old, new, diff, blocks, order, rows, decoding)
    if first.symtab and pairs[first.symtab] == second.symtab and pairs[first.strtab] >= 0:
        coder.symbols(first.symtab, first.strtab, pairs)
        numbers = _renumbered(memoryview(old), first, memoryview(new), second)
        for number, section in _tables(first):
            if pairs[number] >= 0:
                coder.relocations(number, first.symtab, section.info, numbers)
    for number, start, size in _types(memoryview(old), first):
        if pairs[number] >= 0:
            coder.types(number, start, size)


def _parse(data: memoryview) -> Object | None:
    if len(data) < _HEADER.size or bytes(data[:6]) != b"\x7fELF\x02\x01":
        return None
    fields = _HEADER.unpack_from(data)
    kind, machine, at, count, names_at = fields[1], fields[2], fields[6], fields[12], fields[13]
    if kind != 1 or machine not in (X86_64, AARCH64) or not names_at < count <= MAX_SECTIONS:
        return None
    rows = array("q", bytes(8 * _COLUMNS * count))
    if at + count * _SECTION > len(data) or not sections.read(data, at, names_at, rows):
        return None
    found = Object(rows, sections.meanings(data, rows), 0, 0)
    kinds = found.kinds
    if kinds.count(_SYMTAB) == 1:
        symtab = kinds.index(_SYMTAB)
        strings = found.section(symtab).link
        if 0 < strings < count and kinds[strings] == _STRTAB:
            return replace(found, symtab=symtab, strtab=strings)
    return found


def _matched(first: Object, second: Object) -> array[int]:
    """For each old section the new one, by name, kind and how many such came before; -1 where there is none."""
    if first.names == second.names and first.kinds == second.kinds:
        return array("q", range(len(first.names)))  # as the rule below has it, and usual
    numbers = {key: number for number, key in enumerate(_keys(second))}
    return array("q", (numbers.get(key, -1) for key in _keys(first)))


def _keys(found: Object) -> Iterator[tuple[bytes, int, int]]:
    """For each section name, kind and how many such came before."""
    seen: dict[tuple[bytes, int], int] = {}
    for key in zip(found.names, found.kinds, strict=True):
        before = seen[key] = seen.get(key, -1) + 1
        yield *key, before


def _tables(found: Object) -> Iterator[tuple[int, Section]]:
    """Relocations of the symbols, with their numbers."""
    for number, kind in enumerate(found.kinds):
        if number and kind == _RELA:
            section = found.section(number)
            if section.info < len(found.names) and section.link == found.symtab:
                yield number, section


def _symbols(data: memoryview, found: Object) -> tuple[symbols.SymbolTable, int]:
    """The symbols, and how many there are. What one stands for is its name, or that of its section."""
    table, strings = found.section(found.symtab), found.section(found.strtab)
    count = min(table.size // 24, MAX_SYMBOLS)
    made = symbols.SymbolTable(data.cast("B"), (table.offset, count), (strings.offset, strings.size), found.names)
    return made, count


def _renumbered(old: memoryview, first: Object, new: memoryview, second: Object) -> array[int]:
    """For each old symbol the number of the new one that stands for the same, -1 if there is none."""
    before, count = _symbols(old, first)
    found = array("i", bytes(4 * count))
    symbols.renumber(before, _symbols(new, second)[0], _SECRET, found)
    return found


def _types(data: memoryview, found: Object) -> Iterator[tuple[int, int, int]]:
    """Number of each BTF section, offset and size of its type records."""
    for number, name in enumerate(found.names):
        if number == 0 or name != _BTF_NAME:
            continue
        section = found.section(number)
        if not section.holds_bytes or section.size < _BTF.size:
            continue
        magic, version, _, header, start, size, _, _ = _BTF.unpack_from(data, section.offset)
        if magic == 0xEB9F and version == 1 and header + start + size <= section.size and size >= 4:
            yield number, section.offset + header + start, size
