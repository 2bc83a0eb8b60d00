"""What released clients refuse: the limits that a static delta keeps so that every one of them takes it.

Read in the history of libostree. Release 2026.3 gave the xz decoder a bound of memory and a part's payload two bounds
of size; 2026.4 kept the first and dropped the other two again. Devices in the field have all of these releases.
"""

from __future__ import annotations

from typing import Final

from smidgen_deltas.errors import LimitExceeded

DECODER_MEMORY: Final = 100 << 20
"""Bytes that the xz decoder gets, from 2026.3 on (ostree-lzma-decompressor.c)."""

MAX_PAYLOAD: Final = 512 << 20
"""Bytes of an unpacked part, in 2026.3 (ostree-repo-static-delta-private.h)."""

MAX_SUPERBLOCK: Final = 10 << 20
"""Bytes of a superblock that is fetched, before 2023.4; 128 MiB since (ostree-core.h). Files may be larger."""

PAYLOAD_FIXED: Final = 4 << 10
PAYLOAD_PER_OBJECT: Final = 256 + (64 << 10)
PAYLOAD_SHARE: Final = 32
"""A payload may exceed `usize` by this much, this much for each object, and by one part in this many; in 2026.3."""


class PartTooLarge(LimitExceeded):
    """A part would be refused by a released client."""

    hint = "Clients of this commit pull its objects, or take a delta of another format; stock deltas cannot hold it."


def payload_bound(usize: int, objects: int) -> int:
    """The longest payload that every release takes for a part that declares `usize` and lists so many objects."""
    margin = PAYLOAD_FIXED + objects * PAYLOAD_PER_OBJECT + usize // PAYLOAD_SHARE
    return min(MAX_PAYLOAD, usize + margin) if usize else MAX_PAYLOAD


def check_payload(payload: int, usize: int, objects: int) -> None:
    """Raise PartTooLarge for a part whose payload a released client refuses."""
    bound = payload_bound(usize, objects)
    if payload > bound:
        raise PartTooLarge("part is larger than stock clients take", payload=payload, limit=bound, objects=objects)


def check_superblock(size: int) -> None:
    """Raise LimitExceeded for a superblock that a released client does not fetch."""
    if size > MAX_SUPERBLOCK:
        raise LimitExceeded("superblock is larger than stock clients fetch", size=size, limit=MAX_SUPERBLOCK)
