"""Patches and predictions: damaged patches on damaged old files, and tables of hostile executables and objects."""

from __future__ import annotations

from fuzz.target import Choices, target
from smidgen_deltas.engine import elf, relocatable
from smidgen_deltas.engine.patch import TRANSFORMS, Patch, apply_patch, make_patch

LARGEST = 1 << 16


@target("patch-apply")
def apply(data: bytes) -> None:
    choices = Choices(data)
    transform = choices.number(len(TRANSFORMS))
    size = choices.number(LARGEST)
    control, diff, extra, old = choices.part(), choices.part(), choices.part(), choices.rest()
    assert sum(len(part) for part in apply_patch(Patch(transform, control, diff, extra), old, size)) == size


@target("patch-make", share=0.2)
def make(data: bytes) -> None:
    choices = Choices(data)
    effort = choices.pick(("fast", "default", "best"))
    old, new = choices.part(), choices.rest()
    assert b"".join(apply_patch(make_patch(old, new, effort), old, len(new))) == new


@target("elf-image")
def image(data: bytes) -> None:
    found = elf.parse(data)
    if found:
        assert all(0 <= place <= len(data) for place in found.places)
        regions = zip(found.regions[1::4], found.regions[2::4], strict=True)
        assert all(0 <= at <= len(data) - size for at, size in regions)
    table = elf.frame_table(data)
    assert table is None or table[0] + len(table[1]) <= len(data)


@target("elf-object")
def relocatable_object(data: bytes) -> None:
    found = relocatable.parse(data)
    if found:
        assert len(relocatable.blank(data, found)) == len(data)
