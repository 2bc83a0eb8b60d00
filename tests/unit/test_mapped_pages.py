"""Mapped files count as memory only until they are let go of, and can be read as before."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

from smidgen_deltas.engine.pages import Pages

SIZE = 1 << 20


def resident(mapped: mmap.mmap) -> int:
    """Bytes of a mapping that are in this process's memory."""
    start = f"{ctypes.addressof(ctypes.c_char.from_buffer(mapped)):x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.startswith(start):
            return next(int(one.split()[1]) << 10 for one in lines if one.startswith("Rss:"))
    raise AssertionError("not mapped")


def test_what_was_read_is_let_go_of_after_so_much(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * SIZE)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        pages = Pages([memoryview(mapped)[100:], b"held in memory"], step=3 * SIZE)
        assert bytes(mapped) == b"x" * SIZE
        pages.passed(2 * SIZE)
        assert resident(mapped) > 0
        pages.passed(SIZE)
        assert resident(mapped) == 0
        assert bytes(mapped) == b"x" * SIZE
        pages.passed(2 * SIZE)
        assert resident(mapped) > 0
