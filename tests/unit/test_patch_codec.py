"""The codec for pairs of files: what goes in comes out, and moved code costs next to nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from smidgen_deltas.engine import elf
from smidgen_deltas.engine.patch import BLOCK, PLAIN, REFERENCES, Patch, PatchCorrupt, apply_patch, make_patch, weight
from smidgen_deltas.errors import FormatError
from support.elf_images import MACHINES, functions, grow, image

EFFORTS = ("fast", "default", "best")
TEXT = b"".join(b"line %d of some text that repeats itself\n" % number for number in range(400))
NOISE = random.Random(7).randbytes(6000)
PAIRS = {
    "both empty": (b"", b""),
    "nothing before": (b"", b"abc"),
    "nothing after": (b"abc", b""),
    "the same": (NOISE, NOISE),
    "one byte": (b"a", b"b"),
    "unlike": (NOISE[:3000], NOISE[3000:]),
    "inserted": (TEXT, TEXT[:5000] + NOISE[:77] + TEXT[5000:]),
    "removed": (TEXT, TEXT[:5000] + TEXT[6001:]),
    "moved": (NOISE, NOISE[4000:] + NOISE[1000:4000] + NOISE[:1000]),
    "scattered changes": (NOISE, bytes(byte ^ (position % 50 == 0) for position, byte in enumerate(NOISE))),
    "longer than a block": (NOISE * 400, NOISE * 200 + b"!" + NOISE * 199),
    "zeros": (bytes(9000), bytes(20000)),
}


def roundtrip(old: bytes, new: bytes, effort: str) -> Patch:
    patch = make_patch(old, new, effort)
    pieces = list(apply_patch(patch, old, len(new)))
    assert b"".join(pieces) == new
    assert all(0 < len(piece) <= BLOCK for piece in pieces)
    return patch


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", PAIRS)
def test_round_trip(name: str, effort: str) -> None:
    old, new = PAIRS[name]
    patch = roundtrip(old, new, effort)
    assert patch.transform == PLAIN
    assert len(patch.diff) + len(patch.extra) == len(new)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("machine", MACHINES)
def test_code_that_moved_costs_next_to_nothing(machine: str, effort: str) -> None:
    made = functions(1, 300)
    old, new = image(made, machine), image(grow(made, 40, bytes(range(0x20, 0x60))), machine)
    patch = roundtrip(old, new, effort)
    assert patch.transform == REFERENCES
    wrong = len(patch.diff) - patch.diff.count(0)
    assert wrong < 300
    assert weight(patch) < 700


def test_real_libraries() -> None:
    """A library whose text is moved within itself still comes out right, whatever is predicted."""
    data = Path("/proc/self/exe").read_bytes()[: 1 << 20]
    for at in (5000, 70000, 300000):
        patch = roundtrip(data, data[:at] + NOISE[: at % 91] + data[at:], "fast")
        assert weight(patch) < 60000


def test_old_and_new_may_be_any_buffer() -> None:
    old, new = PAIRS["inserted"]
    patch = make_patch(memoryview(old), bytearray(new))
    assert b"".join(apply_patch(patch, memoryview(old), len(new))) == new
    assert patch == make_patch(old, new)


def test_images_of_different_machines_are_just_bytes() -> None:
    made = functions(2, 20)
    assert roundtrip(image(made, "x86-64"), image(made, "aarch64"), "default").transform == PLAIN


@pytest.mark.parametrize(
    ("patch", "size"),
    [
        (Patch(9, b"\0", b"", b""), 0),
        (Patch(PLAIN, b"\0", b"", b"x"), 0),
        (Patch(PLAIN, b"\0", b"", b""), 1),
        (Patch(PLAIN, b"\1\0\0\0", b"", b""), 0),  # ends behind the new file
        (Patch(PLAIN, b"\1\0\1\0", b"x", b""), 1),  # starts before the old file
        (Patch(PLAIN, b"\1\0\0\6", b"x" * 7, b""), 7),  # ends behind it
        (Patch(PLAIN, b"\1\0\0\1", b"x", b""), 1),  # the difference is too short
        (Patch(PLAIN, b"\1\2\0\1", b"x", b""), 1),
        (Patch(PLAIN, b"\xff\xff\xff\xff\xff\1", b"", b""), 0),
        (Patch(PLAIN, b"\0\0", b"", b""), 0),
        (Patch(PLAIN, b"", b"", b""), 0),
        (Patch(REFERENCES, b"\0\0\1\0\0\2", b"xyz", b""), 3),  # the old file is no image
        (Patch(REFERENCES, b"\0\x7f" + bytes(300), b"", b""), 0),
    ],
)
def test_what_does_not_fit_is_refused(patch: Patch, size: int) -> None:
    with pytest.raises(FormatError):
        b"".join(apply_patch(patch, b"abcd", size))


def test_errors_say_what_is_wrong() -> None:
    patch = make_patch(TEXT, TEXT[9:])
    with pytest.raises(PatchCorrupt, match="streams do not fill the file"):
        apply_patch(Patch(patch.transform, patch.control, patch.diff + b"x", patch.extra), TEXT, len(TEXT) - 9)


@pytest.mark.parametrize("machine", MACHINES)
def test_images_are_understood(machine: str) -> None:
    made = functions(3, 10)
    data = image(made, machine)
    found = elf.parse(data)
    assert found is not None
    assert list(found.segments[:2]) == [0x1000, 0x1000]
    code = elf.CODE_X86 if machine == "x86-64" else elf.CODE_ARM
    assert list(found.regions[0::4]) == [code, elf.WORDS, elf.FRAMES]
    assert len(found.places) == len(made)
    assert elf.parse(data[:-1]) is None
    assert elf.parse(b"") is None
