"""Which format a delta on disk has."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from smidgen_client.deltas.inputs import open_regular
from smidgen_deltas.ostree.static.signed import is_signed
from smidgen_deltas.ostree.static.superblock import FIRST_KEYS
from smidgen_deltas.tardiff.stream import MAGIC as TARDIFF

Kind = Literal["smidgen", "ostree", "tardiff"]
HEAD: Final = 64


def kind_of(path: Path) -> Kind:
    """By its first bytes; what is nothing known counts as smidgen's own, whose reader says so.

    A folder is a static delta of ostree. Raises NotFound, StorageError.
    """
    if path.is_dir():
        return "ostree"
    with open_regular(path) as file:
        head = file.read(HEAD)
    if head.startswith(TARDIFF):
        return "tardiff"
    return "ostree" if is_signed(head) or head.startswith(FIRST_KEYS) else "smidgen"
