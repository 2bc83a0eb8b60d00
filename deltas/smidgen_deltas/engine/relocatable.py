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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from smidgen_deltas.engine.elf import AARCH64, NAME_LIMIT, X86_64, section_name
from smidgen_deltas.kernels import symbols
from smidgen_deltas.kernels.relocatable import TableCoder, blank_relocations, blank_symbols, blank_types

Buffer = bytes | bytearray | memoryview

MAX_SECTIONS: Final = 1024
MAX_SYMBOLS: Final = 1 << 18
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_BTF: Final = struct.Struct("<HBBIIIII")
_NULL, _SYMTAB, _STRTAB, _RELA, _NOBITS = 0, 2, 3, 4, 8
_EMPTY: Final = frozenset({_NULL, _NOBITS})
MAX_NAMES: Final = 1 << 20  # bytes of section names that are read at once
_SECRET: Final = 1 << 32 | int.from_bytes(os.urandom(7))  # for hashing names
_EXECUTABLE: Final = 4


class Section(NamedTuple):
    """A section header. Offset and size lie inside the file if the section holds bytes.

    A tuple, not a dataclass: a kernel has thousands of modules with dozens of sections each.
    """

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int

    @property
    def holds_bytes(self) -> bool:
        return self.kind not in _EMPTY


_NOWHERE: Final = Section("", _NULL, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Object:
    """The sections of a relocatable object; `symtab` and `strtab` are section numbers, 0 when there are none."""

    sections: tuple[Section, ...]
    symtab: int
    strtab: int


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
        offsets = array("q", (section.offset if section.holds_bytes else -1 for section in found.sections))
        symbols.places(table, offsets, places)
        for number, section in _tables(found):
            bias = 4 if found.sections[found.sections[number].info].flags & _EXECUTABLE else 0
            blank_relocations(out, section.offset, section.size, known, places, bias)
        blank_symbols(out, found.sections[found.symtab].offset, known)
    for section in found.sections:
        types = _types(view, section)
        if types:
            blank_types(out, *types)
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
    coder = TableCoder(old, new, diff, blocks, order, _rows(first, second, pairs), decoding)
    if first.symtab and first.symtab in pairs and pairs[first.symtab] == second.symtab and first.strtab in pairs:
        coder.symbols(first.symtab, first.strtab, array("q", (pairs.get(n, -1) for n in range(len(first.sections)))))
        numbers = _renumbered(memoryview(old), first, memoryview(new), second)
        for number, section in _tables(first):
            if number in pairs:
                coder.relocations(number, first.symtab, section.info, numbers)
    for number, section in enumerate(first.sections):
        types = _types(memoryview(old), section)
        if types and number and number in pairs:
            coder.types(number, *types)


def _rows(first: Object, second: Object, pairs: dict[int, int]) -> array[int]:
    """What the kernel needs of each old section: where it lies in both files, whether it does, whether it is code."""
    rows: list[int] = []
    for number, section in enumerate(first.sections):
        there = second.sections[pairs[number]] if number in pairs else _NOWHERE
        place = (0, 0, 0, 0, 0)
        if section.kind not in _EMPTY and there.kind not in _EMPTY:
            place = (section.offset, section.size, there.offset, there.size, 1)
        rows += (*place, 1 if section.flags & _EXECUTABLE else 0)
    return array("q", rows)


def _parse(data: memoryview) -> Object | None:
    if len(data) < _HEADER.size or bytes(data[:6]) != b"\x7fELF\x02\x01":
        return None
    fields = _HEADER.unpack_from(data)
    kind, machine, at, count, names_at = fields[1], fields[2], fields[6], fields[12], fields[13]
    if kind != 1 or machine not in (X86_64, AARCH64) or not names_at < count <= MAX_SECTIONS:
        return None
    if at + count * _SECTION.size > len(data):
        return None
    headers = list(_SECTION.iter_unpack(data[at : at + count * _SECTION.size]))
    end, sections, tables = len(data), [], []
    name_of = _names(data, headers[names_at][4], headers[names_at][5])
    for number, (name_at, kind, flags, _, offset, size, link, info, _, _) in enumerate(headers):
        if kind not in _EMPTY and offset + size > end:
            return None
        if kind == _SYMTAB:
            tables.append(number)
        sections.append(Section(name_of(name_at), kind, flags, offset, size, link, info))
    strings = sections[tables[0]].link if len(tables) == 1 else 0
    if 0 < strings < count and sections[strings].kind == _STRTAB:
        return Object(tuple(sections), tables[0], strings)
    return Object(tuple(sections), 0, 0)


def _names(data: memoryview, start: int, size: int) -> Callable[[int], str]:
    """Section names by their place in a table of strings; the table is read at once unless it is a large one."""
    if size > MAX_NAMES:
        return lambda at: section_name(data, start + at, start + size)
    text = bytes(data[start : start + size]).decode("ascii", "replace") + "\0"
    return lambda at: text[at : min(text.find("\0", at), at + NAME_LIMIT)] if at < len(text) else ""


def _matched(first: Object, second: Object) -> dict[int, int]:
    """Old section number -> new one, by name, kind and how many such came before."""
    if [section[:2] for section in first.sections] == [section[:2] for section in second.sections]:
        return {number: number for number in range(len(first.sections))}  # as the rule below has it, and usual
    numbers = _numbers(first)
    return {numbers[key]: number for key, number in _numbers(second).items() if key in numbers}


def _numbers(found: Object) -> dict[tuple[str, int, int], int]:
    """Section numbers by name, kind and how many such came before."""
    seen: dict[tuple[str, int], int] = {}
    numbers = {}
    for number, section in enumerate(found.sections):
        key = section[:2]
        before = seen[key] = seen.get(key, -1) + 1
        numbers[*key, before] = number
    return numbers


def _tables(found: Object) -> Iterator[tuple[int, Section]]:
    for number, section in enumerate(found.sections):
        if number and section.kind == _RELA and section.info < len(found.sections) and section.link == found.symtab:
            yield number, section


def _symbols(data: memoryview, found: Object) -> tuple[symbols.SymbolTable, int]:
    """The symbols, and how many there are. What one stands for is its name, or that of its section."""
    table, strings = found.sections[found.symtab], found.sections[found.strtab]
    count = min(table.size // 24, MAX_SYMBOLS)
    sections = [b"\1" + section.name.encode() for section in found.sections]
    made = symbols.SymbolTable(data.cast("B"), (table.offset, count), (strings.offset, strings.size), sections)
    return made, count


def _renumbered(old: memoryview, first: Object, new: memoryview, second: Object) -> array[int]:
    """For each old symbol the number of the new one that stands for the same, -1 if there is none."""
    before, count = _symbols(old, first)
    found = array("i", bytes(4 * count))
    symbols.renumber(before, _symbols(new, second)[0], _SECRET, found)
    return found


def _types(data: memoryview, section: Section) -> tuple[int, int] | None:
    """Offset and size of the type records, if this is a BTF section."""
    if section.name != ".BTF" or not section.holds_bytes or section.size < _BTF.size:
        return None
    magic, version, _, header, start, size, _, _ = _BTF.unpack_from(data, section.offset)
    if magic != 0xEB9F or version != 1 or header + start + size > section.size or size < 4:
        return None
    return section.offset + header + start, size
