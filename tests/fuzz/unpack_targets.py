"""Each unpacker, both ways: files that it takes apart come back, and hostile recipes and streams are refused."""

from __future__ import annotations

import io
from collections.abc import Callable

from fuzz.target import Choices, target
from smidgen_deltas.engine.unpackers import layer, registry
from smidgen_deltas.engine.unpackers.base import Budget, Unpacker

BUDGET = Budget(output=1 << 20, seconds=2, memory=64 << 20, share=2.0, depth=2)
OUTPUT = 1 << 20
SLOW = {"xz": 0.2, "zstd": 0.2, "zstd-1.5.4": 0.2, "bzip2": 0.2, "gzip": 0.5, "zlib": 0.5, "zip": 0.5}


def taking_apart(unpacker: Unpacker) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        view = memoryview(data)
        if not unpacker.sniff(view):
            return
        split = unpacker.unpack(view, BUDGET.start())
        if split is None:
            return
        again = b"".join(registry.repack(unpacker.name, unpacker.version, split.recipe, split.streams))
        assert again == data or not unpacker.proves_itself

    return run


def putting_together(unpacker: Unpacker) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        choices = Choices(data)
        recipe = choices.part()
        streams = [choices.part() for _ in range(choices.number(7))]
        memory = unpacker.cost(recipe).memory
        if memory > BUDGET.memory:
            return  # a device refuses the delta whose header names such a transform
        parts = registry.repack(unpacker.name, unpacker.version, recipe, streams, limit=OUTPUT)
        assert sum(len(part) for part in parts) <= OUTPUT

    return run


def revealing(unpacker: Unpacker) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        assert sum(len(stream) for stream in unpacker.reveal(memoryview(data), OUTPUT)) <= OUTPUT

    return run


for _unpacker in registry.UNPACKERS:
    _share = SLOW.get(_unpacker.name, 1.0)
    target(f"unpack-{_unpacker.name}", _share)(taking_apart(_unpacker))
    target(f"repack-{_unpacker.name}", _share)(putting_together(_unpacker))
    target(f"reveal-{_unpacker.name}", _share)(revealing(_unpacker))


@target("layer-analyze", share=0.5)
def stored_layer(data: bytes) -> None:
    layer.analyze_gzip_layer(io.BytesIO(data), BUDGET)


@target("layer-recompress", share=0.2)
def rebuilt_layer(data: bytes) -> None:
    choices = Choices(data)
    recipe, plain = choices.part(), choices.rest()
    total = 0
    for part in layer.recompress_layer(recipe, (plain,)):
        total += len(part)
        if total > OUTPUT:
            return  # the caller knows how long the layer is
