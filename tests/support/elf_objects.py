"""Small made-up relocatable objects: functions, relocations, symbols and BTF, as in kernel modules."""

from __future__ import annotations

import struct

from support.elf_images import Function

TEXT, RELA_TEXT, DATA, RELA_DATA, BTF, SYMTAB, STRTAB, SHSTRTAB = range(1, 9)
NAMES = ("", ".text", ".rela.text", ".data", ".rela.data", ".BTF", ".symtab", ".strtab", ".shstrtab")


def relocatable(made: list[Function], base_types: int = 1000, base_strings: int = 50000) -> bytes:
    """An x86-64 object whose functions call each other through relocations and are listed in `.data`.

    Args:
        base_types, base_strings: how much of the numbering of BTF is the kernel's own.
    """
    text, starts, calls = bytearray(), [], []
    for function in made:
        starts.append(len(text))
        for filler, callee in zip(function.filler, function.calls, strict=True):
            text += filler + b"\xe8"
            calls.append((len(text), callee))
            text += bytes(4)
        text += bytes(-len(text) % 16)
    strings, names = bytearray(b"\0"), []
    for number in range(len(made)):
        names.append(len(strings))
        strings += b"function_%d\0" % number
    symbols = bytearray(24) + struct.pack("<IBBHQQ", 0, 3, 0, TEXT, 0, 0)
    for name, start in zip(names, starts, strict=True):
        symbols += struct.pack("<IBBHQQ", name, 0x12, 0, TEXT, start, 16)
    # every second call goes through the section's symbol
    rela_text = b"".join(
        struct.pack("<QIIq", at, 4, callee + 2, -4) if at % 2 else struct.pack("<QIIq", at, 2, 1, starts[callee] - 4)
        for at, callee in calls
    )
    rela_data = b"".join(struct.pack("<QIIq", 8 * at, 1, 1, start) for at, start in enumerate(starts))
    bodies = [text, rela_text, bytes(8 * len(made)), rela_data, btf(made, base_types, base_strings), symbols, strings]
    return assemble([bytes(body) for body in bodies])


def btf(made: list[Function], base_types: int, base_strings: int) -> bytes:
    """Per function: a structure of three members, a pointer to it, a prototype and the function's own record."""
    records = bytearray()
    first = base_types + 1
    for number, function in enumerate(made):
        own, name = first + 4 * number, base_strings + 12 * number
        records += struct.pack("<III", name, 4 << 24 | 3, 24)
        for member in range(3):
            records += struct.pack("<III", base_strings // 7 + member, base_types - 50 * member, 64 * member)
        records += struct.pack("<III", 0, 2 << 24, own)
        records += struct.pack("<IIIII", 0, 13 << 24 | 1, 0, name + 4, own + 1)
        records += struct.pack("<III", name + 8, 12 << 24 | len(function.calls) % 2, own + 2)
    strings = b"".join(b"type_%06d\0" % number for number in range(len(made)))
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(records), len(records), len(strings)) + records + strings


def assemble(bodies: list[bytes]) -> bytes:
    """Bodies of sections 1 to 7; the eighth holds the names of all."""
    kinds = (0, 1, 4, 1, 4, 1, 2, 3, 3)
    flags = (0, 6, 0, 3, 0, 0, 0, 0, 0)
    links = {RELA_TEXT: (SYMTAB, TEXT), RELA_DATA: (SYMTAB, DATA), SYMTAB: (STRTAB, 2)}
    names = b"\0".join(name.encode() for name in NAMES) + b"\0"
    out, table = bytearray(64), bytearray(64)
    for number, body in enumerate([*bodies, names], 1):
        out += bytes(-len(out) % 8)
        link, info = links.get(number, (0, 0))
        name_at = names.index(b"\0" + NAMES[number].encode() + b"\0") + 1
        entry = 24 if kinds[number] in (2, 4) else 0
        table += struct.pack(
            "<IIQQQQIIQQ", name_at, kinds[number], flags[number], 0, len(out), len(body), link, info, 8, entry
        )
        out += body
    out += bytes(-len(out) % 8)
    struct.pack_into(
        "<16sHHIQQQIHHHHHH", out, 0,
        b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, len(out), 0, 64, 0, 0, 64, len(NAMES), SHSTRTAB,
    )  # fmt: skip
    return bytes(out + table)
