"""What is in a static delta, for people and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from smidgen_deltas.ostree.static.located import located
from smidgen_deltas.ostree.static.part import open_part
from smidgen_deltas.ostree.static.superblock import BYTE_ORDER, LITTLE, Superblock


@dataclass(frozen=True, slots=True)
class PartFacts:
    """One part. blob: bytes that its operations draw from; objects, operations: how many of each kind."""

    size: int
    usize: int
    inline: bool
    blob: int
    objects: dict[str, int]
    operations: dict[str, int]


@dataclass(frozen=True, slots=True)
class DeltaFacts:
    """A delta. source: hex or None; size: of superblock and parts; fallbacks: (checksum, size of its file)."""

    source: str | None
    target: str
    created: int
    big_endian: bool
    signatures: int
    size: int
    usize: int
    has_commitmeta: bool
    parts: tuple[PartFacts, ...]
    fallbacks: tuple[tuple[str, int], ...]


def describe_delta(
    superblock: Superblock, size: int, part: Callable[[int], bytes | memoryview], signatures: int = 0
) -> DeltaFacts:
    """Read a whole delta, carrying out nothing.

    Args:
        size: of the superblock's file.
        part: gives the bytes of a part by number.
    Raises what `open_part` and `part` raise.
    """
    parts = tuple(_part(superblock, number, part) for number in range(len(superblock.parts)))
    order = superblock.metadata.get(BYTE_ORDER)
    return DeltaFacts(
        source=superblock.name.source.hex() if superblock.name.source else None,
        target=superblock.name.target.hex(),
        created=superblock.created,
        big_endian=order is not None and order.value != LITTLE,
        signatures=signatures,
        size=size + sum(one.size for one in parts if not one.inline),
        usize=sum(one.usize for one in parts),
        has_commitmeta=superblock.commitmeta() is not None,
        parts=parts,
        fallbacks=tuple((one.checksum.hex(), one.size) for one in superblock.fallbacks),
    )


def _part(superblock: Superblock, number: int, part: Callable[[int], bytes | memoryview]) -> PartFacts:
    entry = superblock.parts[number]
    with located(part=number):
        opened = open_part(part(number), entry)
    return PartFacts(
        size=entry.size,
        usize=entry.usize,
        inline=superblock.inline_part(number) is not None,
        blob=len(opened.blob),
        objects=dict(Counter(name.type.name.lower() for name in entry.objects)),
        operations=dict(Counter(type(operation).__name__.lower() for _, operation in opened.operations)),
    )
