"""Deltas that were made once must give the same files for ever: they lie in caches and on devices.

If one of these fails, an update of smidgen has changed what a published delta means: devices would refuse it and fall
back to fetching everything. Make a new version of the transform instead and keep the old one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_deltas.engine.apply import Applier
from support.delta_trees import Memory, apply_delta, split_delta

FOLDER = Path(__file__).parent / "delta"
NAMES = sorted(path.stem for path in FOLDER.glob("*.delta"))


@pytest.mark.parametrize("name", NAMES)
def test_these_bytes_always_mean_this_file(name: str) -> None:
    store = Memory()
    store.add((FOLDER / f"{name}.old").read_bytes())
    applier = apply_delta((FOLDER / f"{name}.delta").read_bytes(), store)
    assert isinstance(applier, Applier)
    assert store.open(applier.root) == (FOLDER / f"{name}.new").read_bytes()


def test_every_kind_of_patch_is_frozen() -> None:
    assert NAMES == ["aarch64", "plain", "relocatable", "x86-64", "xz"]
    header, _ = split_delta((FOLDER / "xz.delta").read_bytes())
    assert [transform.name for transform in header.transforms] == ["xz"]
