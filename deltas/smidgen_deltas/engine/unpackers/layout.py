"""The recipe of a container: literal bytes and inner streams in turn.

    count, count x (literal length, stream length), length of the last literal, all literals one after another

Numbers are varints (`wire`). Lengths stand apart from the literals so that both compress well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.unpackers.base import MAX_OUTPUT, Data, RecipeInvalid, Split, blocks
from smidgen_deltas.wire import WireReader, put_varint

MAX_STREAMS: Final = 1 << 20


class LayoutBuilder:
    """Cuts `data` into literals and streams from front to back."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0
        self._gaps: list[int] = []
        self._literals = bytearray()
        self._streams: list[memoryview] = []

    @property
    def at(self) -> int:
        """Offset behind the last stream."""
        return self._at

    @property
    def streams(self) -> tuple[memoryview, ...]:
        """Those named so far."""
        return tuple(self._streams)

    def stream(self, start: int, size: int) -> None:
        """Everything up to `start` is literal, then comes a stream. Empty streams stay literal (nothing)."""
        if start < self._at or start + size > len(self._data):
            raise RecipeInvalid("member lies outside its container", start=start, size=size)
        if not size:
            return
        self._gaps.append(start - self._at)
        self._literals += self._data[self._at : start]
        self._streams.append(self._data[start : start + size])
        self._at = start + size

    def finish(self) -> Split | None:
        """The split, the rest being literal; None when no stream was found."""
        if not self._streams or len(self._streams) > MAX_STREAMS:
            return None
        recipe = bytearray()
        put_varint(recipe, len(self._streams))
        for gap, stream in zip(self._gaps, self._streams, strict=True):
            put_varint(recipe, gap)
            put_varint(recipe, len(stream))
        put_varint(recipe, len(self._data) - self._at)
        recipe += self._literals
        recipe += self._data[self._at :]
        return Split(bytes(recipe), tuple(self._streams))


@dataclass(frozen=True, slots=True)
class Layout:
    """A parsed recipe: `gaps` has one more element than `sizes`."""

    gaps: tuple[int, ...]
    sizes: tuple[int, ...]
    literals: bytes


def parse(recipe: bytes) -> Layout:
    """Raise a FormatError unless `recipe` is complete and in range."""
    reader = WireReader(recipe, "container recipe")
    count = reader.number(min(MAX_STREAMS, len(recipe) // 2), "stream count")
    gaps, sizes = [], []
    for _ in range(count):
        gaps.append(reader.number(len(recipe), "literal length"))
        sizes.append(reader.number(MAX_OUTPUT, "stream length"))
    gaps.append(reader.number(len(recipe), "literal length"))
    literals = reader.take(reader.left)
    if sum(gaps) != len(literals):
        raise RecipeInvalid(
            "container recipe has too few or too many literals", declared=sum(gaps), found=len(literals)
        )
    return Layout(tuple(gaps), tuple(sizes), literals)


def rebuild(recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
    """Literals and streams in turn; RecipeInvalid before the first byte if the streams do not fit."""
    layout = parse(recipe)
    if tuple(len(stream) for stream in streams) != layout.sizes:
        raise RecipeInvalid("streams do not fit the container recipe", expected=len(layout.sizes), found=len(streams))
    at = 0
    for gap, stream in zip(layout.gaps, (*streams, b""), strict=True):
        if gap:
            yield layout.literals[at : at + gap]
        at += gap
        for block in blocks(stream):
            yield bytes(block)
