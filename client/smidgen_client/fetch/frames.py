"""Cutting frames out of a stream of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smidgen_deltas.native.packmap import Frame


class FrameCutter:
    """Fed with the bytes of one range in order, yields the stored bytes of each wanted frame; drops the gaps.

    Holds at most one frame; a frame that lies inside one block is not copied.
    """

    def __init__(self, start: int, frames: Sequence[Frame]) -> None:
        self._at = start
        self._frames = frames
        self._next = 0
        self._buffer = bytearray()

    @property
    def expects(self) -> Frame | None:
        """The frame that comes next."""
        return self._frames[self._next] if self._next < len(self._frames) else None

    def feed(self, block: bytes) -> Iterator[tuple[Frame, bytes | bytearray | memoryview]]:
        view = memoryview(block)
        start, end = self._at, self._at + len(block)
        self._at = end
        while self._next < len(self._frames):
            frame = self._frames[self._next]
            first = max(frame.offset, start)
            last = min(frame.offset + frame.size, end)
            if first >= last:
                return
            piece = view[first - start : last - start]
            if not self._buffer and len(piece) == frame.size:
                self._next += 1
                yield frame, piece
                continue
            self._buffer += piece
            if len(self._buffer) < frame.size:
                return
            self._next += 1
            full, self._buffer = self._buffer, bytearray()
            yield frame, full
