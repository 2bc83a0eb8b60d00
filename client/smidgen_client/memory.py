"""How much memory there is, and keeping glibc's allocator from hoarding it.

By default every thread gets an arena of its own and the size from which blocks are mapped (and given back when freed)
grows up to 32 MiB, so that a few frames per thread leave tens of megabytes behind. Elsewhere this does nothing.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
MAPPED_FROM: Final = 256 << 10
MEMINFO: Final = Path("/proc/meminfo")


def available(meminfo: Path = MEMINFO) -> int | None:
    """Bytes that programs may still take (MemAvailable of proc(5)); None where the system does not say."""
    try:
        text = meminfo.read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d{1,15}) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def tame_allocator() -> None:
    """Two arenas, large blocks always mapped."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, MAPPED_FROM)
