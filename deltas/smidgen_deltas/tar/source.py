"""Where a tar's bytes come from: a stream that counts, and hands out headers whole and bodies in passing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO, Protocol


class Source(Protocol):
    """What the tar reader needs of its input."""

    @property
    def offset(self) -> int:
        """Bytes handed out or skipped so far."""
        ...

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer only when the input ends before."""
        ...

    def some(self, limit: int) -> bytes:
        """The next bytes, at least one and at most `limit`; b"" when the input has ended."""
        ...

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; return how many there were."""
        ...


class ByteSource:
    """A Source over blocks of any length. Holds one block; whole blocks are passed on without copying."""

    __slots__ = ("_at", "_block", "_blocks", "offset")

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._at = 0
        self.offset = 0

    def _fill(self) -> bool:
        """Make sure there is a byte at the cursor; False at the end."""
        while self._at >= len(self._block):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block, self._at = bytes(block), 0
        return True

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._block):
            taken = self._block[self._at : end]
            self._at = end
            self.offset += size
            return taken
        parts = []
        while size and (part := self.some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def some(self, limit: int) -> bytes:
        if not self._fill():
            return b""
        whole = self._at == 0 and len(self._block) <= limit
        part = self._block if whole else self._block[self._at : self._at + limit]
        self._at += len(part)
        self.offset += len(part)
        return part

    def skip(self, size: int) -> int:
        left = size
        while left and self._fill():
            step = min(left, len(self._block) - self._at)
            self._at += step
            self.offset += step
            left -= step
        return size - left


class FileSource:
    """A Source over a seekable file from its present position; passes over bodies without reading them."""

    __slots__ = ("_file", "_left", "offset")

    def __init__(self, file: BinaryIO) -> None:
        start = file.tell()
        self._left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        self._file = file
        self.offset = 0

    def take(self, size: int) -> bytes:
        data = self._file.read(size)
        self._moved(len(data))
        return data

    def some(self, limit: int) -> bytes:
        return self.take(min(limit, 1 << 18))

    def skip(self, size: int) -> int:
        step = max(0, min(size, self._left))
        self._file.seek(step, os.SEEK_CUR)
        self._moved(step)
        return step

    def _moved(self, size: int) -> None:
        self.offset += size
        self._left -= size
