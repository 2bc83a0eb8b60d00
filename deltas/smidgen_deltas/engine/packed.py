"""Telling what is compressed already from what is not, before work is put into it."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.sources import Buffer

SAMPLE: Final = 1 << 16
PACKED: Final = 0.97
_COMPRESSED: Final = re.compile(r"\.(?:[gx]z|bz2|zst|lz4|png|jpe?g|zip|jar)\Z")


def looks_packed(path: str, data: Buffer) -> bool:
    """Whether the bytes are compressed already: by name, or since a sample does not become smaller."""
    if _COMPRESSED.search(path):
        return True
    middle = len(data) // 2
    sample = bytes(memoryview(data)[middle : middle + SAMPLE])
    return len(data) >= SAMPLE and len(zstd.compress(sample, 1)) > PACKED * len(sample)
