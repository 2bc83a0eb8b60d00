"""Where a tar's bytes come from: a stream that counts, and hands out headers whole and bodies in passing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


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
