"""Writing the content of one file, holes and all, while proving that it is that content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from smidgen_deltas.errors import DigestMismatch, SizeMismatch
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.member import Segment
from smidgen_deltas.tar.paths import show
from smidgen_deltas.tar.pieces import Content


def write_content(handle: int, entry: Entry, content: Content, blocks: Iterable[bytes]) -> None:
    """Write the stored bytes of `entry` where they belong in an empty file.

    Never more than `content.size` bytes are written. Raises SizeMismatch, DigestMismatch with the path.
    """
    segments = (Segment(0, content.size),) if entry.sparse is None else entry.sparse
    hasher = hashlib.sha256()
    writer = _SegmentWriter(handle, segments)
    found = 0
    for block in blocks:
        found += len(block)
        if found > content.size:
            break
        hasher.update(block)
        writer.write(block)
    if found != content.size:
        raise SizeMismatch("content has another size", path=show(entry.path), expected=content.size, found=found)
    if hasher.digest() != content.sha256:
        raise DigestMismatch(
            "content is another",
            path=show(entry.path),
            expected=f"sha256:{content.sha256.hex()}",
            found=f"sha256:{hasher.hexdigest()}",
        )


class _SegmentWriter:
    """Puts consecutive bytes where their segments belong."""

    def __init__(self, handle: int, segments: Iterable[Segment]) -> None:
        self._handle = handle
        self._segments = iter(segments)
        self._at = 0
        self._left = 0

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            if not self._left:
                segment = next(self._segments, None)
                if segment is None:
                    raise SizeMismatch("content is longer than its segments", at=self._at)
                self._at, self._left = segment.offset, segment.length
            written = os.pwrite(self._handle, view[: self._left], self._at)
            self._at += written
            self._left -= written
            view = view[written:]
