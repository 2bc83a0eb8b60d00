"""Any pair of files round-trips; damage to a patch or its old file gives typed errors or a file of the right size."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas.engine import elf
from smidgen_deltas.engine.patch import Patch, apply_patch, make_patch
from smidgen_deltas.errors import SmidgenError
from support.elf_images import MACHINES, functions, grow, image
from support.elf_objects import relocatable

SMALL = functions(4, 25)
PAIRS = {machine: (image(SMALL, machine), image(grow(SMALL, 9, b"0" * 32), machine)) for machine in MACHINES}
MODULES = (relocatable(SMALL), relocatable(grow(SMALL, 9, b"0" * 32), 1003, 50300))
TEXT = b"".join(b"%d bottles, " % number for number in range(300))
CASES = [*PAIRS.values(), MODULES, (TEXT, TEXT[900:] + TEXT[:1000]), (b"", b"abc")]
PATCHES = [(old, new, make_patch(old, new)) for old, new in CASES]
ODD = [0, 1, 0x40, 0xFFF, 1 << 31, (1 << 48) - 1, 1 << 62, (1 << 63) - 8, 1 << 63, (1 << 64) - 1]


@st.composite
def edited(draw: st.DrawFn, start: bytes) -> bytes:
    """`start` with pieces changed, removed, doubled or moved, and 8-byte fields set to odd numbers."""
    data = bytearray(start)
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        at = draw(st.one_of(st.integers(0, len(data) - 1), st.integers(0, min(len(data) - 1, 200))))
        action = draw(st.integers(0, 5))
        size = draw(st.sampled_from((1, 3, 16, 64, 500)))
        if action == 0:
            data[at] = draw(st.integers(0, 255))
        elif action == 1:
            data[at:at] = draw(st.binary(max_size=40))
        elif action == 2:
            del data[at : at + size]
        elif action == 3:
            data[at:at] = data[at : at + size]
        elif action == 4 and at + 8 <= len(data):
            struct.pack_into("<Q", data, at - at % 8, draw(st.sampled_from(ODD)))
        else:
            del data[at:]
    return bytes(data)


def damaged(old: bytes) -> st.SearchStrategy[bytes]:
    """An old file whose tables, at either end, were tampered with, too."""

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        data = bytearray(old)
        for _ in range(draw(st.integers(0, 4))):
            table = draw(st.sampled_from((0, 64, max(0, len(data) - 64 * 9))))
            at = min(table + 8 * draw(st.integers(0, 72)), max(0, len(data) - 8))
            if at + 8 <= len(data):
                size = draw(st.sampled_from((2, 4, 8)))
                data[at : at + size] = struct.pack("<Q", draw(st.sampled_from(ODD)))[:size]
        return bytes(data)

    return build()


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(("fast", "default", "best")))
def test_round_trip(data: st.DataObject, effort: str) -> None:
    case, _ = data.draw(st.sampled_from(CASES))
    old = data.draw(edited(case))
    new = data.draw(st.one_of(edited(old), st.binary(max_size=50)))
    assert b"".join(apply_patch(make_patch(old, new, effort), old, len(new))) == new


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_round_trip_of_tampered_images(data: st.DataObject) -> None:
    old, new = data.draw(st.sampled_from([*PAIRS.values(), MODULES]))
    old, new = data.draw(damaged(old)), data.draw(damaged(new))
    elf.parse(old)
    assert b"".join(apply_patch(make_patch(old, new), old, len(new))) == new


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage(data: st.DataObject) -> None:
    old, new, patch = data.draw(st.sampled_from(PATCHES))
    size = data.draw(st.sampled_from((len(new), len(new), 0, len(new) + 1)))
    part = data.draw(st.sampled_from(("control", "diff", "extra", "old", "segments", "transform")))
    if part == "old":
        old = data.draw(st.one_of(edited(old), damaged(old)))
    elif part == "transform":
        patch = replace(patch, transform=data.draw(st.integers(0, 4)))
    elif part == "segments":
        patch = replace(patch, control=data.draw(segments()) + patch.control[2:])
    else:
        patch = replace(patch, **{part: data.draw(edited(getattr(patch, part)))})
    try:
        found = b"".join(apply_patch(patch, old, size))
    except SmidgenError:
        return
    assert len(found) == size


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_predictions_in_tampered_images(data: st.DataObject) -> None:
    """The whole of a tampered old file is one block, so that everything in it is predicted from."""
    old = data.draw(damaged(data.draw(st.sampled_from([old for old, _ in PAIRS.values()]))))
    head = data.draw(segments())
    length = _varint(len(old) - 1)
    try:
        found = b"".join(apply_patch(Patch(1, head + b"\1\0\0" + length, bytes(len(old)), b""), old, len(old)))
    except SmidgenError:
        return
    assert len(found) == len(old)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_tables_in_tampered_objects(data: st.DataObject) -> None:
    """As above; the difference, tampered with, makes the headers of the new file odd, too."""
    old = data.draw(damaged(MODULES[0]))
    diff = bytearray(len(old))
    for _ in range(data.draw(st.integers(0, 3))):
        at = len(diff) - 8 * data.draw(st.integers(1, 72))
        struct.pack_into("<Q", diff, at, data.draw(st.sampled_from(ODD)))
    try:
        found = b"".join(apply_patch(Patch(2, b"\1\0\0" + _varint(len(old) - 1), bytes(diff), b""), old, len(old)))
    except SmidgenError:
        return
    assert len(found) == len(old)


def segments() -> st.SearchStrategy[bytes]:
    number = st.sampled_from([*ODD[:6], 0x1000, 0x2000, (1 << 62) - 1]).map(_varint)
    return st.lists(st.tuples(number, number, number, number), max_size=3).map(
        lambda rows: bytes((len(rows) % 2, len(rows))) + b"".join(part for row in rows for part in row)
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes((*out, value))
