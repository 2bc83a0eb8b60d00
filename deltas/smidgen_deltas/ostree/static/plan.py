"""Dealing new objects out to parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.packed import SAMPLE, looks_packed
from smidgen_deltas.ostree.static.commits import FileFacts, ObjectReader, content
from smidgen_deltas.ostree.walk import Visited

GOAL: Final = 72 << 20  # bytes of files in a part; far below what clients take (`limits`)
STORED_GOAL: Final = 160 << 20  # of a part that is not compressed; copies reach no other part, and this costs no time
CONTAINER: Final = 4 << 20  # what is larger and compressed may hold other files of its part: it comes last


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What goes into a part. stored: whether it is compressed already."""

    metadata: tuple[Visited, ...]
    files: tuple[FileFacts, ...]
    stored: bool


def plan_parts(metadata: Sequence[Visited], files: Sequence[FileFacts], reader: ObjectReader) -> list[PartPlan]:
    """All parts, at least one. The order of files in a part is that of their kind, then of their paths."""
    packed = [file for file in files if _is_packed(file, reader)]
    apart = {file.checksum for file in packed}
    plain = sorted((file for file in files if file.checksum not in apart), key=_plain_key)
    packed.sort(key=lambda file: (file.size >= CONTAINER, file.path))
    plans = [PartPlan((), group, stored=False) for group in _groups(plain, GOAL)]
    first = PartPlan(tuple(metadata), plans[0].files if plans else (), stored=False)
    return [first, *plans[1:], *(PartPlan((), group, stored=True) for group in _groups(packed, STORED_GOAL))]


def _is_packed(file: FileFacts, reader: ObjectReader) -> bool:
    if file.header.is_symlink or not file.size:
        return False
    return file.size >= SAMPLE // 16 and looks_packed(file.path, content(reader, file.checksum))


def _plain_key(file: FileFacts) -> tuple[bool, str, str]:
    name = file.path.rpartition("/")[2]
    return not file.header.is_symlink, name.partition(".")[2][-8:], file.path


def _groups(files: Sequence[FileFacts], most: int) -> Iterator[tuple[FileFacts, ...]]:
    """Runs of files of about the same size together, each at most `most` unless one file is larger."""
    total = sum(file.size for file in files)
    goal = total // max(1, -(-total // most)) + 1
    group: list[FileFacts] = []
    size = 0
    for file in files:
        if group and size + file.size > goal:
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield tuple(group)
