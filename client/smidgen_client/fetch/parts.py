"""Contents that arrive in several frames: kept in part files until they are complete.

`<folder>/<sha256 hex>.part` has the bytes, `<sha256 hex>.have` the runs that are there (16 bytes each: start, length;
big-endian), appended only after the bytes were written. A process may die anywhere: at worst a run is written again.
After a power cut a journal may promise what the disk lost; the content's own digest decides in the end, and a part that
fails it is thrown away.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import StorageError

_RUN: Final = struct.Struct(">QQ")
BLOCK: Final = 1 << 18


class PartFiles:
    """The part files in one folder; used by several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: dict[bytes, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def runs(self, sha256: bytes) -> list[tuple[int, int]]:
        """(start, length) pairs that are there, in order of start."""
        with self._lock:
            return sorted(self._load(sha256))

    def write(self, sha256: bytes, size: int, start: int, data: bytes | memoryview) -> bool:
        """Keep bytes `start`... of the content; whether it is complete now."""
        if start + len(data) > size:
            raise StorageError("a run lies outside its content", start=start, length=len(data), size=size)
        self.folder.mkdir(parents=True, exist_ok=True)
        _pwrite(self._part(sha256), data, start)
        with self._lock:
            runs = self._load(sha256)
            runs.append((start, len(data)))
            with self._journal(sha256).open("ab") as journal:
                journal.write(_RUN.pack(start, len(data)))
            return covers(runs, 0, size)

    def has(self, sha256: bytes, start: int, length: int) -> bool:
        """Whether these bytes are there."""
        with self._lock:
            return covers(self._load(sha256), start, length)

    def blocks(self, sha256: bytes, size: int) -> Iterator[bytes]:
        """The first `size` bytes of a part."""
        with self._part(sha256).open("rb") as file:
            left = size
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    def discard(self, sha256: bytes) -> None:
        with self._lock:
            self._runs.pop(sha256, None)
            self._journal(sha256).unlink(missing_ok=True)
            self._part(sha256).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all parts."""
        with self._lock:
            self._runs.clear()
            if self.folder.is_dir():
                for path in [*self.folder.glob("*.have"), *self.folder.glob("*.part")]:
                    path.unlink(missing_ok=True)

    def _part(self, sha256: bytes) -> Path:
        return self.folder / f"{sha256.hex()}.part"

    def _journal(self, sha256: bytes) -> Path:
        return self.folder / f"{sha256.hex()}.have"

    def _load(self, sha256: bytes) -> list[tuple[int, int]]:
        if sha256 not in self._runs:
            self._runs[sha256] = self._read(sha256)
        return self._runs[sha256]

    def _read(self, sha256: bytes) -> list[tuple[int, int]]:
        try:
            data = self._journal(sha256).read_bytes()
            written = self._part(sha256).stat().st_size
        except FileNotFoundError:
            return []
        whole = len(data) - len(data) % _RUN.size
        return [run for run in _RUN.iter_unpack(data[:whole]) if sum(run) <= written]


def covers(runs: list[tuple[int, int]], start: int, length: int) -> bool:
    """Whether the runs together hold `length` bytes from `start`."""
    at, end = start, start + length
    for first, size in sorted(runs):
        if first > at:
            break
        at = max(at, first + size)
        if at >= end:
            return True
    return at >= end


def _pwrite(path: Path, data: bytes | memoryview, offset: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            done = os.pwrite(handle, view, offset)
            view, offset = view[done:], offset + done
    finally:
        os.close(handle)
