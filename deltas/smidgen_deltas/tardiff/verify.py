"""Proof that a delta does what it is for, before anybody gets it.

Our reader is stricter than stock appliers (paths, sizes of operations, one frame, the window), and of the old files it
gives only those that an applier can open: what it rebuilds, they rebuild.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import IntegrityError
from smidgen_deltas.tar.paths import show
from smidgen_deltas.tardiff.apply import replay
from smidgen_deltas.tardiff.old_files import OpenFile, SourceMissing
from smidgen_deltas.tardiff.old_tree import OldTree, Usable, any_path


class DeltaWrong(IntegrityError):
    """A delta that was made rebuilds something else. Detail: `at`, where the tar differs."""


def tar_files(old: Sequence[Buffer], usable: Usable = any_path) -> OpenFile:
    """Opens old files inside uncompressed tars, without extracting them.

    Args:
        old: layers, lowest first.
    Raises TarCorrupt, TarAmbiguous, TarUnsupported, TarLimit; what comes out raises SourceMissing.
    """
    tree = OldTree()
    for tar in old:
        tree.add(tar)
    files = {name: file.data for file in tree.files(usable) for name in file.names if usable(name)}

    def open_file(path: bytes) -> Buffer:
        if path not in files:
            raise SourceMissing("an old file is missing", path=show(path))
        return files[path]

    return open_file


def prove(delta: BinaryIO, old: Sequence[Buffer], new: Buffer, usable: Usable = any_path) -> None:
    """Carry a delta out and compare. Raises DeltaWrong and all that `apply.check` raises.

    Args:
        delta: read from its start.
    """
    delta.seek(0)
    expected = memoryview(new).cast("B")
    pages = Pages((*old, new))
    at = 0
    for block in replay(delta, tar_files(old, usable)):
        if expected[at : at + len(block)] != block:
            raise DeltaWrong("a delta does not rebuild what it was made for", at=at)
        at += len(block)
        pages.passed(2 * len(block))
    if at != len(expected):
        raise DeltaWrong("a delta does not rebuild what it was made for", at=at, size=len(expected))
