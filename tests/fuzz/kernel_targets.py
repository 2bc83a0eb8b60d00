"""The compiled kernels, called as any caller could: what is outside of a buffer must be refused with ValueError."""

from __future__ import annotations

import contextlib
from array import array
from itertools import islice

from fuzz.target import Choices, target
from smidgen_deltas.engine.unpackers.deflate_models import MODELS
from smidgen_deltas.kernels import patching, references, relocatable, sections, tarblocks
from smidgen_deltas.kernels.align import align
from smidgen_deltas.kernels.checks import crc64
from smidgen_deltas.kernels.deflate_analyze import Analyzer, DeflateRefused
from smidgen_deltas.kernels.deflate_rebuild import CorrectionsInvalid, Rebuilder
from smidgen_deltas.kernels.sketch import sketch

CRC64_POLYNOMIAL = 0xC96C5795D7870F42
SEGMENTS = 16


def numbers(choices: Choices, code: str, most: int) -> array[int]:
    """Mostly small ones; some that overflow."""
    found = array(code)
    for _ in range(choices.number(most)):
        kind = choices.number(7)
        if kind < 6:
            found.append(choices.number(0xFFF))
        elif kind == 6:
            found.append((1 << 63) - 1 - choices.number(0xFF))
        else:
            found.append(-1 - choices.number(0xFF) if code == "q" else (1 << 64) - 1)
    return found


@target("kernel-align")
def alignment(data: bytes) -> None:
    choices = Choices(data)
    depth, step = choices.number(64), 1 + choices.number(40)
    old, new = choices.part(), choices.rest()
    end = 0
    blocks = array("q", align(old, new, depth, step))
    for at, old_at, length in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
        assert end <= at <= len(new) - length
        assert 0 <= old_at <= len(old) - length
        assert length > 0
        end = at + length


@target("kernel-patching")
def differences(data: bytes) -> None:
    choices = Choices(data)
    base, new = choices.part(), choices.rest()
    out = bytearray(len(new))
    with contextlib.suppress(ValueError):
        patching.subtract(new, base, out)
        patching.add(out, base)
        assert out == new


@target("kernel-patching-blocks")
def blocks_put_together(data: bytes) -> None:
    choices = Choices(data)
    blocks, size = numbers(choices, "q", 12), choices.number(0xFFF)
    decoded = array("q", bytes(8 * len(blocks)))
    old, diff, extra = choices.part(), choices.part(), choices.rest()
    out, base, apart = bytearray(size), bytearray(size), bytearray(size)
    with contextlib.suppress(ValueError):
        covered = patching.blocks_of(extra, 0, len(old), size, decoded)
        assert covered <= size
    with contextlib.suppress(ValueError):
        patching.assemble(old, blocks, diff, extra, out)
        for at, old_at, length in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
            base[at : at + length] = old[old_at : old_at + length]
        patching.complete(blocks, diff, extra, base)
        assert base == out
        patching.spread(blocks, diff, apart)
        assert sum(apart) == sum(diff)


@target("kernel-sketch")
def sketches(data: bytes) -> None:
    choices = Choices(data)
    most = choices.number(300)
    with contextlib.suppress(ValueError):
        found = sketch(choices.rest(), most)
        assert len(found) <= most
        assert found == sorted(set(found))


@target("kernel-checks")
def checks(data: bytes) -> None:
    value = (1 << 64) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (CRC64_POLYNOMIAL if value & 1 else 0)
    assert crc64(data) == value ^ (1 << 64) - 1


@target("kernel-references")
def predicted(data: bytes) -> None:
    choices = Choices(data)
    blocks, order = numbers(choices, "q", 12), numbers(choices, "q", 4)
    old_segments, new_segments = numbers(choices, "Q", SEGMENTS), numbers(choices, "Q", SEGMENTS)
    regions, places = numbers(choices, "q", 24), numbers(choices, "q", 6)
    out = bytearray(choices.number(0xFFF))
    with contextlib.suppress(ValueError):
        references.predict(choices.rest(), blocks, order, old_segments, new_segments, regions, places, out)


@target("kernel-references-blank")
def blanked(data: bytes) -> None:
    choices = Choices(data)
    segments, regions, places = numbers(choices, "Q", SEGMENTS), numbers(choices, "q", 24), numbers(choices, "q", 6)
    with contextlib.suppress(ValueError):
        references.blank(bytearray(choices.rest()), segments, regions, places)


@target("kernel-relocatable")
def tables(data: bytes) -> None:
    choices = Choices(data)
    blocks, order = numbers(choices, "q", 12), numbers(choices, "q", 4)
    sections = numbers(choices, "q", 36)
    renumbered, symbols = numbers(choices, "q", 6), array("i", choices.take(40).ljust(40, b"\0"))
    decoding, which = choices.number(1), numbers(choices, "q", 9)
    old, new = choices.part(), bytearray(choices.rest())
    which.extend((1, 2, 3) * 3)
    with contextlib.suppress(ValueError):
        coder = relocatable.TableCoder(old, new, bytearray(len(new)), blocks, order, sections, decoding)
        for call in (
            lambda: coder.symbols(which[0], which[1], renumbered),
            lambda: coder.relocations(which[2], which[3], which[4], symbols),
            lambda: coder.types(which[5], which[6], which[7]),
        ):
            with contextlib.suppress(ValueError):
                call()


@target("kernel-relocatable-blank")
def blanked_tables(data: bytes) -> None:
    choices = Choices(data)
    start = (*numbers(choices, "q", 2), 0, 100)
    size, bias = choices.number(0xFFF), choices.number(64)
    meanings, places = array("I", choices.take(32).ljust(32, b"\0")), numbers(choices, "q", 8)
    image = bytearray(choices.rest())
    for call in (
        lambda: relocatable.blank_types(image, start[0], start[1]),
        lambda: relocatable.blank_symbols(image, start[0], meanings),
        lambda: relocatable.blank_relocations(image, start[0], size, meanings, places, bias),
    ):
        with contextlib.suppress(ValueError):
            call()


@target("kernel-sections")
def section_headers(data: bytes) -> None:
    choices = Choices(data)
    at, names, count = numbers(choices, "q", 1), choices.number(15), choices.number(15)
    pairs, odd = numbers(choices, "q", 8), numbers(choices, "q", 32)
    image, rows = choices.rest(), array("q", bytes(64 * count))
    with contextlib.suppress(ValueError):
        if sections.read(image, sum(at), names, rows):
            for start, size, kind in zip(rows[4::8], rows[5::8], rows[2::8], strict=True):
                assert kind in (0, 8) or 0 <= start <= len(image) - size
        assert len(sections.meanings(image, rows)) == count
    with contextlib.suppress(ValueError):
        sections.meanings(image, odd)
    with contextlib.suppress(ValueError):
        sections.paired(rows, odd, pairs, array("q", bytes(48 * len(pairs))))


@target("kernel-tarblocks")
def tar_blocks(data: bytes) -> None:
    choices = Choices(data)
    without = choices.number(3)
    first, bases = choices.take(512), tuple(choices.take(512) for _ in range(choices.number(8)))
    with contextlib.suppress(ValueError):
        number, runs, changed = tarblocks.changes(first, bases, bool(without & 1), bool(without & 2))
        assert number < len(bases)
        assert sum(runs) <= len(first)
        assert sum(runs[1::2]) == len(changed)


@target("kernel-deflate-analyze")
def analyzed(data: bytes) -> None:
    choices = Choices(data)
    model, step = choices.pick(MODELS), 1 + choices.number(0xFFF)
    packed = choices.rest()
    kernel = Analyzer()
    chosen = False
    with contextlib.suppress(DeflateRefused):
        for at in range(0, len(packed), step):
            kernel.feed(packed[at : at + step])
            while not kernel.done and kernel.decode(1 << 14):
                kernel.take_plain()
                if not chosen:
                    kernel.trial(model.parameters(), 1 << 20, False)
                    kernel.try_header(model.codes, model.joined)
                    kernel.choose(model.parameters(), model.codes, model.joined, 0, False)
                    chosen = True
                kernel.advance()
        kernel.close()
        kernel.unused()


@target("kernel-deflate-rebuild")
def rebuilt(data: bytes) -> None:
    choices = Choices(data)
    model, flags = choices.pick(MODELS), choices.number(7)
    period, builder = choices.number(0xFFFF), choices.number(2)
    segments = numbers(choices, "Q", 5)
    corrections, plain = choices.part(), choices.rest()
    with contextlib.suppress(CorrectionsInvalid):
        kernel = Rebuilder(
            model.parameters(),
            builder,
            bool(flags & 1),
            bool(flags & 2),
            period,
            bool(flags & 4),
            segments,
            corrections,
        )
        out = kernel.feed(plain)
        for _ in range(4):
            out = kernel.feed(b"") if out else b""
        for _ in islice(iter(kernel.finish, b""), 4):
            pass
