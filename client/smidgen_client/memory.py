"""Keeping glibc's allocator from hoarding memory.

By default every thread gets an arena of its own and the size from which blocks are mapped (and given back when freed)
grows up to 32 MiB, so that a few frames per thread leave tens of megabytes behind. Elsewhere this does nothing.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
MAPPED_FROM: Final = 256 << 10


def tame_allocator() -> None:
    """Two arenas, large blocks always mapped."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, MAPPED_FROM)
