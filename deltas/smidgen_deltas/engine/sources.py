"""What the engine is given: files and trees whose bytes can be had by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from smidgen_deltas.native.tree import ContentRef

Buffer = bytes | memoryview


class Contents(Protocol):
    """Bytes by digest. `open` gives all of them, preferably mapped, not read."""

    def open(self, content: ContentRef) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree to make deltas from or to.

    Args:
        document: raw tree document (native.tree); None for a plain file, which is then the only content.
        contents: as in the document.
        paths: for each content one path where it lies.
        bytes_of: where to get them.
    """

    document: bytes | None
    contents: tuple[ContentRef, ...]
    paths: tuple[str, ...]
    bytes_of: Contents
