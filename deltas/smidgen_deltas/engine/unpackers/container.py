"""What unpackers of plain containers share: a parse that cuts, a recipe that is a layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers import layout
from smidgen_deltas.engine.unpackers.base import MIB, Allowance, Cost, CpuClass, Data, SelfTestFailed, Split
from smidgen_deltas.errors import LimitExceeded

COPY_COST: Final = Cost(CpuClass.COPY, 0.001, MIB)


class ContainerUnpacker:
    """Base of the unpackers whose streams stand in the file as they are. Subclasses cut."""

    name: ClassVar[str]
    version: ClassVar[int]
    proves_itself: ClassVar[bool] = False

    def sniff(self, data: memoryview) -> bool:
        raise NotImplementedError

    def cut(self, data: memoryview, builder: layout.LayoutBuilder) -> None:
        """Name the streams in order. Raises FormatError for what is not this format."""
        raise NotImplementedError

    def sample(self) -> tuple[bytes, int]:
        """A small file of this format and how many streams it has."""
        raise NotImplementedError

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        builder = layout.LayoutBuilder(data)
        self.cut(data, builder)
        allowance.check(len(data))
        return builder.finish()

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        if len(data) > limit:
            raise LimitExceeded("content is larger than allowed", limit=limit)
        builder = layout.LayoutBuilder(data)
        self.cut(data, builder)
        return builder.streams

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        return layout.rebuild(recipe, streams)

    def cost(self, recipe: bytes) -> Cost:
        layout.parse(recipe)
        return COPY_COST

    def self_test(self) -> str:
        data, count = self.sample()
        builder = layout.LayoutBuilder(memoryview(data))
        self.cut(memoryview(data), builder)
        split = builder.finish()
        if not split or len(split.streams) != count or b"".join(self.repack(split.recipe, split.streams)) != data:
            raise SelfTestFailed("container is not rebuilt", unpacker=self.name)
        return f"{count} members"
