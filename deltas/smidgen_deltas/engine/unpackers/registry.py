"""All unpackers, by name and version: unpack, repack, cost, self-tests, nesting.

A (name, version) pair means the same bytes for ever; a change of any output is a new version beside the old.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from smidgen_deltas.engine.unpackers.ar import ArUnpacker
from smidgen_deltas.engine.unpackers.base import (
    MAX_OUTPUT,
    Allowance,
    Budget,
    Cost,
    Data,
    RecipeInvalid,
    Unpacked,
    Unpacker,
    same,
)
from smidgen_deltas.engine.unpackers.bzip2 import Bzip2Unpacker
from smidgen_deltas.engine.unpackers.cpio import CpioUnpacker
from smidgen_deltas.engine.unpackers.gzip import GzipUnpacker, ZlibUnpacker
from smidgen_deltas.engine.unpackers.kernel_image import BzImageUnpacker, ZbootUnpacker
from smidgen_deltas.engine.unpackers.tar import TarUnpacker
from smidgen_deltas.engine.unpackers.xz import XzUnpacker
from smidgen_deltas.engine.unpackers.zip import ZipUnpacker
from smidgen_deltas.engine.unpackers.zstd import ZstdUnpacker
from smidgen_deltas.errors import FormatError, LimitExceeded, SmidgenError, UnsupportedFeature

UNPACKERS: Final[tuple[Unpacker, ...]] = (
    XzUnpacker(),
    ZstdUnpacker("zstd", "1.5.7"),
    ZstdUnpacker("zstd-1.5.4", "1.5.4"),  # Debian 12
    Bzip2Unpacker(),
    CpioUnpacker(),
    ArUnpacker(),
    GzipUnpacker(),
    ZipUnpacker(),
    TarUnpacker(),
    BzImageUnpacker(),
    ZbootUnpacker(),
    ZlibUnpacker(),  # last: its magic is weak
)
_BY_NAME: Final = {(unpacker.name, unpacker.version): unpacker for unpacker in UNPACKERS}


class UnknownUnpacker(UnsupportedFeature):
    """A delta names a transform that this version does not have."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Whether this machine rebuilds an unpacker's vectors bit for bit, and what was tried or went wrong."""

    name: str
    version: int
    ok: bool
    detail: str


def unpack(data: Data, budget: Budget) -> Unpacked | None:
    """Take `data` apart by the first unpacker that can rebuild it exactly; None when there is none.

    What is returned was proven: the recipe and streams gave `data` again. Time and sizes are bounded by `budget`;
    running out of either means None.
    """
    view = memoryview(data).cast("B")
    for unpacker in UNPACKERS:
        if unpacker.sniff(view):
            found = _attempt(unpacker, view, budget.start())
            if found:
                return found
    return None


def _attempt(unpacker: Unpacker, data: memoryview, allowance: Allowance) -> Unpacked | None:
    try:
        split = unpacker.unpack(data, allowance)
        if not split:
            return None
        if not unpacker.proves_itself and not same(unpacker.repack(split.recipe, split.streams), data):
            return None
    except FormatError:
        return None
    return Unpacked(unpacker.name, unpacker.version, split.recipe, split.streams)


def repack(
    name: str, version: int, recipe: bytes, streams: Sequence[Data], *, limit: int = MAX_OUTPUT
) -> Iterator[bytes]:
    """The bytes that were taken apart, in blocks.

    Args:
        limit: size of the file as the caller knows it; LimitExceeded as soon as more comes.
    Raises:
        UnknownUnpacker: at once, before the first block.
        FormatError: the recipe is damaged or does not fit the streams; possibly after some blocks.
    """
    return _limited(_get(name, version).repack(recipe, streams), limit)


def reveal(name: str, version: int, data: Data, limit: int) -> tuple[Data, ...]:
    """Only decode `data` by the named unpacker, as a source: nothing is proven, no encoder runs.

    The streams depend on `data` alone. They are those of `unpack`, except that members of a zip file that `unpack` left
    compressed are decoded.
    Raises:
        UnknownUnpacker, FormatError: the data is damaged or has more than `limit` bytes inside.
    """
    return _get(name, version).reveal(memoryview(data).cast("B"), limit)


def cost(name: str, version: int, recipe: bytes) -> Cost:
    """What `repack` will take per MiB of the streams."""
    return _get(name, version).cost(recipe)


def self_test(names: frozenset[str] | None = None) -> list[SelfTest]:
    """Run the embedded vectors of all (or the named) unpackers; under two seconds altogether."""
    return [_self_test(unpacker) for unpacker in UNPACKERS if names is None or unpacker.name in names]


def _self_test(unpacker: Unpacker) -> SelfTest:
    try:
        detail = unpacker.self_test()
    except SmidgenError as error:
        return SelfTest(unpacker.name, unpacker.version, ok=False, detail=str(error))
    return SelfTest(unpacker.name, unpacker.version, ok=True, detail=detail)


def _get(name: str, version: int) -> Unpacker:
    unpacker = _BY_NAME.get((name, version))
    if not unpacker:
        raise UnknownUnpacker("delta needs a transform that is not known here", name=name, version=version)
    return unpacker


def _limited(parts: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for part in parts:
        total += len(part)
        if total > limit:
            raise LimitExceeded("rebuilt file is longer than declared", limit=limit)
        yield part


@dataclass(frozen=True, slots=True)
class Node:
    """A file taken apart, and what could be taken apart within it: one child per stream, None for a leaf."""

    unpacked: Unpacked
    children: tuple[Node | None, ...]

    def leaves(self) -> Iterator[Data]:
        """Streams that were not taken apart further, in order."""
        for stream, child in zip(self.unpacked.streams, self.children, strict=True):
            if child:
                yield from child.leaves()
            else:
                yield stream


def nested(data: Data, budget: Budget) -> Node | None:
    """Take apart to at most `budget.depth` levels; None when not even the outermost can be."""
    if budget.depth < 1:
        return None
    unpacked = unpack(data, budget)
    if not unpacked:
        return None
    inner = replace(budget, depth=budget.depth - 1)
    return Node(unpacked, tuple(nested(stream, inner) for stream in unpacked.streams))


def rebuild(node: Node, leaves: Iterator[Data]) -> Iterator[bytes]:
    """The outermost bytes from the tree's recipes and the leaves' content. The tree's own streams are not read.

    Raises:
        RecipeInvalid: too few leaves.
    """
    return repack(node.unpacked.name, node.unpacked.version, node.unpacked.recipe, _streams(node, leaves))


def _streams(node: Node, leaves: Iterator[Data]) -> list[Data]:
    streams: list[Data] = []
    for child in node.children:
        if child:
            streams.append(b"".join(rebuild(child, leaves)))
            continue
        leaf = next(leaves, None)
        if leaf is None:
            raise RecipeInvalid("too few leaves for the nested recipe")
        streams.append(leaf)
    return streams
