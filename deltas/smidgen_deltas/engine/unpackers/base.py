"""What an unpacker is: its results, its limits and the errors that hostile recipes cause.

Rules shared by all unpackers
 * `unpack` answers None for anything it cannot rebuild bit for bit; it never raises for the content of the input
 * `repack` gets recipes from untrusted deltas: it raises RecipeInvalid or another FormatError, never anything else
 * nothing larger than the budget is held, no stream is longer than the budget's `output`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from smidgen_deltas.engine.gate import OPEN, Gate
from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.scratch import collect
from smidgen_deltas.errors import FormatError, LimitExceeded

Data = bytes | memoryview

MIB: Final = 1 << 20
MAX_OUTPUT: Final = 1 << 40  # bytes; only a backstop, callers know the size of what they rebuild
BLOCK: Final = 1 << 18  # bytes handed over at a time
LET_GO: Final = 4 << 20  # bytes of a mapped stream that an encoder has behind it


class RecipeInvalid(FormatError):
    """A recipe is damaged, does not fit its streams, or asks for what no unpacker writes."""


class BudgetSpent(LimitExceeded):
    """Looking inside a file takes longer, or gives more, than allowed. The file is then left as it is."""


class CpuClass(Enum):
    """How much work rebuilding is, for a device's policy."""

    COPY = "copy"  # containers: headers put back between members
    LIGHT = "light"  # over 20 MB/s of unpacked data
    HEAVY = "heavy"  # 1 to 20 MB/s
    EXTREME = "extreme"  # slower


@dataclass(frozen=True, slots=True)
class Cost:
    """What rebuilding takes: seconds of one core per MiB of unpacked data, and bytes of memory beside the streams."""

    cpu: CpuClass
    seconds_per_mib: float
    memory: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What looking inside one file may take.

    output: most bytes of all inner streams together, each level of nesting by itself.
    seconds: most wall-clock time for one unpacker on one file.
    memory: encoders that need more are not tried.
    share: largest recipe of a corrected deflate stream, as a part of the compressed bytes.
    depth: levels of nesting.
    gate: what encoders that run at the same time share.
    """

    output: int = 1 << 30
    seconds: float = 300.0
    memory: int = 2 << 30
    share: float = 0.1
    depth: int = 4
    gate: Gate = OPEN

    def start(self) -> Allowance:
        return Allowance(self, time.monotonic() + self.seconds)


class Allowance:
    """A budget whose clock runs."""

    __slots__ = ("_deadline", "budget")

    def __init__(self, budget: Budget, deadline: float) -> None:
        self.budget = budget
        self._deadline = deadline

    def check(self, produced: int = 0) -> None:
        """Raise BudgetSpent when time is up or `produced` bytes are too many."""
        if produced > self.budget.output:
            raise BudgetSpent("unpacked content is larger than allowed", limit=self.budget.output)
        if time.monotonic() > self._deadline:
            raise BudgetSpent("unpacking takes longer than allowed", seconds=self.budget.seconds)

    def affords(self, memory: int) -> bool:
        """Whether an encoder may take so many bytes."""
        return memory <= self.budget.memory

    def encoder(self, memory: int) -> AbstractContextManager[None]:
        """For as long as an encoder of `memory` bytes runs; waits for others that take too much beside it."""
        return self.budget.gate.hold(memory)


@dataclass(frozen=True, slots=True)
class Split:
    """Bytes taken apart: what to do, and with what."""

    recipe: bytes
    streams: tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A split with the name and version of the unpacker that can put it together again."""

    name: str
    version: int
    recipe: bytes
    streams: tuple[Data, ...]


class Unpacker(Protocol):
    """One format. Instances hold no state."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def proves_itself(self) -> bool:
        """unpack() has compared the rebuilt bytes already."""
        ...

    def sniff(self, data: memoryview) -> bool:
        """Could this be it? Cheap: a look at the magic."""
        ...

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        """Take apart, or None. May raise FormatError, which means None."""
        ...

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        """Only decode: the streams, at most `limit` bytes altogether, without finding out how to rebuild.

        Raises FormatError for damaged data. Depends on `data` alone, so two machines get the same.
        """
        ...

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        """Put together. Raises FormatError for a recipe that is not one of `unpack`'s for these streams."""
        ...

    def cost(self, recipe: bytes) -> Cost:
        """What `repack` will take. Raises FormatError."""
        ...

    def self_test(self) -> str:
        """Rebuild the embedded vectors; raise SelfTestFailed or say in a few words what was rebuilt."""
        ...


class SelfTestFailed(LimitExceeded):
    """This machine's libraries do not give the bytes that the transform needs; it is not offered."""

    hint = "Nothing is broken: deltas that need this transform are not used here."


def only_stream(streams: Sequence[Data]) -> Data:
    """The one stream of a single-stream recipe, or RecipeInvalid."""
    if len(streams) != 1:
        raise RecipeInvalid("recipe needs exactly one stream", streams=len(streams))
    return streams[0]


def blocks(data: Data, size: int = BLOCK) -> Iterator[memoryview]:
    """`data` in pieces of at most `size` bytes, not copied. Mapped data is let go of behind them."""
    view, pages = memoryview(data), Pages((data,), LET_GO)
    for start in range(0, len(view), size):
        yield view[start : start + size]
        pages.passed(size)


class Decoder(Protocol):
    """What the decompressors of lzma, bz2 and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Data, max_length: int = -1) -> bytes: ...


def decode_all(make: Callable[[], Decoder], data: memoryview, limit: int) -> Data:
    """The content of all streams or frames in `data`, one after another. Much of it is not held in memory.

    Raises LimitExceeded above `limit` bytes, RecipeInvalid when the last one is not complete; and what decoders raise.
    """
    return collect(_decoded(make, data, limit))


def _decoded(make: Callable[[], Decoder], data: memoryview, limit: int) -> Iterator[bytes]:
    at = produced = 0
    while at < len(data):
        decoder = make()
        while not decoder.eof:
            block = data[at : at + BLOCK] if decoder.needs_input else b""
            if decoder.needs_input and not block:
                raise RecipeInvalid("compressed content ends early", produced=produced)
            at += len(block)
            piece = decoder.decompress(block, BLOCK)
            produced += len(piece)
            if produced > limit:
                raise LimitExceeded("content is larger than allowed", limit=limit)
            yield piece
        at -= len(decoder.unused_data)


def same(parts: Iterable[Data], expected: memoryview) -> bool:
    """Are `parts`, one after another, exactly `expected`? Stops asking for parts at the first difference."""
    at = 0
    for part in parts:
        if expected[at : at + len(part)] != part:
            return False
        at += len(part)
    return at == len(expected)
