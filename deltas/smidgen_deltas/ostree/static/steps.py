"""How one new file is put together, before it is known where in a part its bytes will lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smidgen_deltas.engine.sources import Buffer


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes as they are."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class Copied:
    """[offset, +length] of a file object that the client has by then."""

    source: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Patched:
    """The whole file by a bsdiff stream, given in pieces."""

    source: bytes
    stream: Sequence[bytes]


Step = Literal | Copied | Patched


def drawn(steps: Sequence[Step]) -> int:
    """Bytes that steps take up in a part, but for their operations."""
    size = 0
    for step in steps:
        if isinstance(step, Literal):
            size += len(step.data)
        elif isinstance(step, Patched):
            size += sum(map(len, step.stream))
    return size
