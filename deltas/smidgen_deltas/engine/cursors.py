"""Which part of a frame's streams belongs to which operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smidgen_deltas.engine import coding
from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.native.delta_ops import Op, Patched, Repacked, Whole
from smidgen_deltas.wire import WireCorrupt

LET_GO: Final = 4 << 20  # bytes of streams in scratch files that were used since the last time


class Cursors:
    """Places in the streams of a frame; what was not used at the end is an error."""

    def __init__(self, parts: coding.Streams) -> None:
        self._parts = {name: memoryview(part) for name, part in zip(coding.NAMES, parts.parts(), strict=True)}
        self._at = dict.fromkeys(coding.NAMES, 0)
        self._at["ops"] = len(parts.ops)  # has its own reader
        self._pages = Pages(self._parts.values(), LET_GO)

    def of(self, op: Op, size: int) -> Iterator[Buffer]:
        """What an operation takes, in the order in which `engine.apply` wants it."""
        return (part for _, part in self.named(op, size))

    def named(self, op: Op, size: int) -> Iterator[tuple[str, memoryview]]:
        """The same with the names of the streams. size: of what the operation makes. Raises WireCorrupt."""
        if isinstance(op, Whole):
            yield "literal", self.take("literal", size)
        elif isinstance(op, Patched):
            for name, count in (("control", op.control), ("diff", op.diff), ("extra", op.extra)):
                yield name, self.take(name, count)
        elif isinstance(op, Repacked):
            yield "literal", self.take("literal", op.recipe)
            for inner in op.streams:
                yield from self.named(inner.op, inner.size)

    def take(self, name: str, size: int) -> memoryview:
        """The next bytes of a stream. Raises WireCorrupt."""
        start, part = self._at[name], self._parts[name]
        if size > len(part) - start:
            raise WireCorrupt(f"delta {name} ends early", offset=start, wanted=size, left=len(part) - start)
        self._at[name] = start + size
        self._pages.passed(size)
        return part[start : start + size]

    def done(self) -> None:
        """Raises WireCorrupt."""
        for name, part in self._parts.items():
            if self._at[name] != len(part):
                raise WireCorrupt(f"delta {name} is followed by other bytes", left=len(part) - self._at[name])
