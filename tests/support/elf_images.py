"""Small made-up executables: functions that call each other, tables of addresses, unwinding data.

Two of them built from the same functions with one grown are what a security update of a library looks like.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, replace

BASE = 0x1000
MACHINES = {"x86-64": 62, "aarch64": 183}


@dataclass(frozen=True)
class Function:
    """filler: bytes without references; calls: the numbers of the functions it calls, one after each filler."""

    filler: tuple[bytes, ...]
    calls: tuple[int, ...]


def functions(seed: int, count: int) -> list[Function]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        calls = tuple(rng.randrange(count) for _ in range(rng.randrange(1, 6)))
        # without the bytes that begin branches on either machine
        filler = tuple(bytes(rng.choices(range(0x20, 0x78), k=4 * rng.randrange(2, 8))) for _ in calls)
        made.append(Function(filler, calls))
    return made


def grow(made: list[Function], number: int, extra: bytes) -> list[Function]:
    grown = list(made)
    grown[number] = replace(made[number], filler=(made[number].filler[0] + extra, *made[number].filler[1:]))
    return grown


def image(made: list[Function], machine: str) -> bytes:
    """An ELF64 file with .text, .data.rel.ro (the address of each function), .eh_frame and section names."""
    starts, code = [], bytearray()
    for function in made:
        starts.append(BASE + len(code))
        code += bytes(sum(len(part) + 4 + (machine == "x86-64") for part in function.filler))
        code += bytes(-len(code) % 16)
    for start, function in zip(starts, made, strict=True):
        at = start - BASE
        for filler, callee in zip(function.filler, function.calls, strict=True):
            code[at : at + len(filler)] = filler
            at += len(filler)
            call = _call(machine, BASE + at, starts[callee])
            code[at : at + len(call)] = call
            at += len(call)
    table = struct.pack(f"<{len(starts)}Q", *starts)
    frames_at = BASE + len(code) + len(table)
    frames = bytearray(struct.pack("<III4x", 12, 0, 1))
    for start in starts:
        frames += struct.pack("<II", 12, len(frames) + 4)
        frames += struct.pack("<iI", start - (frames_at + len(frames)), 64)
    return assemble(
        MACHINES[machine],
        [(".text", 6, bytes(code)), (".data.rel.ro", 3, table), (".eh_frame", 2, bytes(frames))],
    )


def assemble(machine: int, parts: list[tuple[str, int, bytes]]) -> bytes:
    """Parts are (name, flags, bytes), mapped one after the other from BASE at file offset BASE."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in parts) + b".shstrtab\0"
    body = b"".join(data for _, _, data in parts)
    names_at = BASE + len(body)
    sections_at = names_at + len(names) + -(names_at + len(names)) % 8
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 3, machine, 1, BASE, 64, sections_at, 0, 64, 56, 1, 64, len(parts) + 2, len(parts) + 1,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, BASE, BASE, BASE, len(body), len(body) + 64, BASE)
    table = bytearray(64)
    at = BASE
    for name, flags, data in parts:
        name_at = names.index(b"\0" + name.encode() + b"\0") + 1
        table += struct.pack("<IIQQQQIIQQ", name_at, 1, flags, at, at, len(data), 0, 0, 8, 0)
        at += len(data)
    name_at = names.index(b".shstrtab")
    table += struct.pack("<IIQQQQIIQQ", name_at, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    start = header + segment
    return b"".join((start, bytes(BASE - len(start)), body, names, bytes(sections_at - names_at - len(names)), table))


def _call(machine: str, at: int, target: int) -> bytes:
    if machine == "x86-64":
        return b"\xe8" + struct.pack("<i", target - at - 5)
    return struct.pack("<I", 0x94000000 | ((target - at) // 4 & 0x3FFFFFF))
