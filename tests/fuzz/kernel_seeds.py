"""Seeds for kernels and patches: small executables and objects, and deflate streams."""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator

from fuzz.target import part
from smidgen_deltas.engine import elf
from smidgen_deltas.engine.patch import make_patch
from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer
from support.elf_images import MACHINES, functions, grow, image
from support.elf_objects import relocatable
from support.tars import header

SMALL = functions(4, 6)
GROWN = grow(SMALL, 3, b"0" * 32)
PLAIN = vectors.plain(1500)


def numbers(values: list[int] | array[int]) -> bytes:
    """As kernel_targets.numbers reads them."""
    return bytes((len(values),)) + b"".join(b"\0" + value.to_bytes(2, "little") for value in values)


def pairs() -> dict[str, tuple[bytes, bytes]]:
    made = {machine: (image(SMALL, machine), image(GROWN, machine)) for machine in MACHINES}
    return made | {"object": (relocatable(SMALL), relocatable(GROWN, 1003, 50300)), "text": (PLAIN, PLAIN[300:] + b"x")}


def kernel_seeds() -> Iterator[tuple[str, str, bytes]]:
    for name, (old, new) in pairs().items():
        patch = make_patch(old, new)
        head = bytes((patch.transform,)) + len(new).to_bytes(3, "little")
        yield "patch-apply", name, head + part(patch.control) + part(bytes(patch.diff)) + part(bytes(patch.extra)) + old
        yield "patch-make", name, b"\1" + part(old) + new
        yield "kernel-align", name, b"\x20\0" + part(old) + new
    for machine in MACHINES:
        yield "elf-image", machine, image(SMALL, machine)
        yield "kernel-references", machine, _references(image(SMALL, machine))
        yield "kernel-references-blank", machine, _blank(image(SMALL, machine))
    yield "elf-object", "object", relocatable(SMALL)
    yield "kernel-relocatable", "object", _tables(relocatable(SMALL))
    yield "kernel-relocatable-blank", "object", _blank_tables(relocatable(SMALL))
    yield "kernel-sections", "object", _sections(relocatable(SMALL))
    yield "kernel-tarblocks", "files", b"\0" + header(b"usr/a", 7) + b"\2" + header(b"usr/b") + header(b"lib/a", 7)
    yield "kernel-patching", "equal", part(PLAIN) + PLAIN[::-1]
    yield (
        "kernel-patching-blocks",
        "two",
        numbers([1, 2, 4, 5, 9, 7]) + b"\x0e\0" + part(PLAIN[:16]) + part(PLAIN[:11]) + b"new",
    )
    yield "kernel-sketch", "plain", b"\x20\0" + PLAIN
    yield "kernel-checks", "plain", PLAIN[:100]
    yield from deflate_seeds()


def deflate_seeds() -> Iterator[tuple[str, str, bytes]]:
    for level in (1, 6, 9):
        packed = zlib.compressobj(level, zlib.DEFLATED, -15)
        stream = packed.compress(PLAIN) + packed.flush()
        yield "kernel-deflate-analyze", f"level-{level}", bytes((level - 1, 255, 15)) + stream
        analyzer = DeflateAnalyzer(Budget(share=4.0).start())
        plain = analyzer.feed(stream) + analyzer.close()
        recipe = analyzer.recipe()
        head = bytes((recipe.model, 0, 0, 0, recipe.builder)) + numbers([])
        yield "kernel-deflate-rebuild", f"level-{level}", head + part(recipe.corrections) + plain


def _references(old: bytes) -> bytes:
    found = elf.parse(old)
    assert found
    lists = (
        [0, 0, len(old)],
        [0],
        _small(found.segments),
        _small(found.segments),
        found.regions[:24],
        found.places[:6],
    )
    return b"".join(map(numbers, map(_small, lists))) + len(old).to_bytes(2, "little") + old


def _blank(old: bytes) -> bytes:
    found = elf.parse(old)
    assert found
    return b"".join(map(numbers, map(_small, (found.segments, found.regions[:24], found.places[:6])))) + old


def _tables(old: bytes) -> bytes:
    rows = [0, 0, 0, 0, 0, 0, 64, 240, 64, 240, 1, 1, 304, 240, 304, 240, 1, 0]
    which = [1, 2, 1, 2, 1, 1, 64, 24, 0]
    head = numbers([0, 0, len(old)]) + numbers([0]) + numbers(rows) + numbers([0, 1, 2]) + bytes(40) + b"\1"
    return head + numbers(which) + part(old) + old


def _sections(old: bytes) -> bytes:
    at, count, names = struct.unpack_from("<Q", old, 40)[0], *struct.unpack_from("<HH", old, 60)
    return numbers([at]) + bytes((names, count)) + numbers([0, 1, 2]) + numbers([0] * 16) + old


def _blank_tables(old: bytes) -> bytes:
    return numbers([64, 400]) + b"\x60\0\4" + bytes(range(32)) + numbers([70] * 8) + old


def _small(values: list[int] | array[int]) -> list[int]:
    """Numbers as far as a seed can hold them."""
    return [value & 0xFFF for value in values]
