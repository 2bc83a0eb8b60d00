"""The little of ELF that prediction needs: where an image is mapped, and which parts hold references.

Only little-endian ELF64 for x86-64 and AArch64. Source: System V ABI, chapter 4 and 5; DWARF/LSB for `.eh_frame`.
Anything odd means "no image here" (None), never an error: a file that is not understood is just bytes.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.kernels import references

X86_64: Final = 62
AARCH64: Final = 183
CODE_X86, CODE_ARM, WORDS, FRAMES, FRAME_TABLE = 1, 2, 3, 4, 5
MAX_SEGMENTS: Final = 64
MAX_SECTIONS: Final = 4096
NAME_LIMIT: Final = 64
MAX_FRAMES: Final = 64 << 20  # bytes of .eh_frame
MAX_TABLE: Final = 16 << 20  # bytes of .eh_frame_hdr that are rebuilt

_TABLE_HEAD: Final = 12  # bytes of .eh_frame_hdr before its table
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_WORD_SECTIONS: Final = frozenset(
    {
        ".rela.dyn",
        ".rela.plt",
        ".dynsym",
        ".symtab",
        ".data.rel.ro",
        ".data",
        ".got",
        ".got.plt",
        ".init_array",
        ".fini_array",
        ".dynamic",
        ".data.rel.ro.local",
    }
)


@dataclass(frozen=True, slots=True)
class Image:
    """An executable or shared library.

    Args:
        segments: quadruples (address, offset, size in file, size in memory) of what is loaded.
        regions: quadruples (kind, offset, size, address), sorted by offset, not overlapping.
        places: offsets of the pc-relative words in `.eh_frame`, ascending.
    """

    machine: int
    segments: array[int]
    regions: array[int]
    places: array[int]


def parse(data: bytes | bytearray | memoryview) -> Image | None:
    """None unless `data` is an executable or library of a known machine whose tables lie inside it."""
    try:
        return _parse(memoryview(data))
    except (struct.error, OverflowError):  # a table outside the file, or past what any file can hold
        return None


def _parse(data: memoryview) -> Image | None:
    if len(data) < _HEADER.size or bytes(data[:6]) != b"\x7fELF\x02\x01":
        return None
    fields = _HEADER.unpack_from(data)
    kind, machine, program_at, section_at = fields[1], fields[2], fields[5], fields[6]
    program_count, section_count, names_at = fields[10], fields[12], fields[13]
    if kind not in (2, 3) or machine not in (X86_64, AARCH64):
        return None
    if not 0 < program_count <= MAX_SEGMENTS or section_count > MAX_SECTIONS:
        return None
    segments = _segments(data, program_at, program_count)
    regions, places = _regions(data, machine, section_at, section_count, names_at)
    if not segments:
        return None
    return Image(machine, segments, regions, places)


def _segments(data: memoryview, at: int, count: int) -> array[int]:
    out = array("Q")
    for number in range(count):
        kind, _, offset, address, _, in_file, in_memory, _ = _SEGMENT.unpack_from(data, at + number * _SEGMENT.size)
        if kind == 1 and in_file <= in_memory < 1 << 48 and address < 1 << 62 and offset < 1 << 48:
            out.extend((address, offset, in_file, in_memory))
    return out


def _regions(data: memoryview, machine: int, at: int, count: int, names_at: int) -> tuple[array[int], array[int]]:
    sections = [_SECTION.unpack_from(data, at + number * _SECTION.size) for number in range(count)]
    found: list[tuple[int, int, int, int]] = []
    places = array("q")
    if not sections or names_at >= len(sections):
        return array("q"), places
    names_start, names_end = sections[names_at][4], sections[names_at][4] + sections[names_at][5]
    for name_at, kind, flags, address, offset, size, *_ in sections:
        if kind in (0, 8) or not size or offset + size > len(data) or address >= 1 << 62:
            continue
        region = _kind(section_name(data, names_start + name_at, names_end), flags, machine)
        if region:
            found.append((region, offset, size, address))
    found.sort(key=lambda entry: entry[1])
    out = array("q")
    end = 0
    for entry in found:
        if entry[1] >= end:
            out.extend(entry)
            end = entry[1] + entry[2]
            if entry[0] == FRAMES and entry[2] <= MAX_FRAMES:
                places.extend(_frame_words(data, entry[1], entry[2]))
    return out, places


def section_name(data: memoryview, at: int, end: int) -> str:
    """The name at `at` in a table of strings that ends at `end`; cut after NAME_LIMIT bytes."""
    return bytes(data[at : min(at + NAME_LIMIT, end)]).partition(b"\0")[0].decode("ascii", "replace")


def _kind(name: str, flags: int, machine: int) -> int:
    if flags & 4:
        return CODE_X86 if machine == X86_64 else CODE_ARM
    if name in _WORD_SECTIONS:
        return WORDS
    return {".eh_frame": FRAMES, ".eh_frame_hdr": FRAME_TABLE}.get(name, 0)


def blank(data: bytes | bytearray | memoryview, image: Image) -> bytearray:
    """A copy in which references are blanked: for aligning, by the encoder only."""
    out = bytearray(data)
    references.blank(out, image.segments, image.regions, image.places)
    return out


def frame_table(data: bytes | bytearray | memoryview) -> tuple[int, bytes] | None:
    """Offset and content of the search table in `.eh_frame_hdr`, made anew from `.eh_frame`: LSB 5.0, 10.6.2.

    None when the image has no such table or its size is another. Only `.eh_frame` and the section headers are read.
    """
    found = parse(data)
    if found is None:
        return None
    sections = {found.regions[at]: found.regions[at + 1 : at + 4] for at in range(0, len(found.regions), 4)}
    if FRAMES not in sections or FRAME_TABLE not in sections:
        return None
    (offset, _, address), (table_at, table_size, table_address) = sections[FRAMES], sections[FRAME_TABLE]
    if table_size != _TABLE_HEAD + 8 * len(found.places) or table_size > MAX_TABLE:
        return None
    rows = []
    for place in found.places:
        (relative,) = struct.unpack_from("<i", data, place)
        at = address + place - offset
        rows.append((at + relative - table_address, at - 8 - table_address))
    rows.sort()
    table = array("I", (number & 0xFFFFFFFF for row in rows for number in row))
    if sys.byteorder == "big":
        table.byteswap()
    return table_at + _TABLE_HEAD, table.tobytes()


def _frame_words(data: memoryview, offset: int, size: int) -> array[int]:
    """Offsets of each FDE's pc_begin (taken for pcrel sdata4, as all common compilers emit)."""
    found = array("q")
    at, end = offset, offset + size
    while at + 12 <= end:
        (length,) = struct.unpack_from("<I", data, at)
        if length == 0 or length >= 0xFFFFFFF0 or at + 4 + length > end:
            break
        if struct.unpack_from("<I", data, at + 4)[0]:
            found.append(at + 8)
        at += 4 + length
    return found
