"""Carrying out a tar-diff: first all of it is checked against the old files, then the new tar is put together.

The format has no digest of the result, so whoever knows one gives it; what comes out is otherwise only as good as the
old files are the ones that the delta was made from. Nothing comes out of a delta that is damaged, or whose sources are
missing or too short.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, Protocol

from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import DigestMismatch, LimitExceeded
from smidgen_deltas.kernels.patching import add
from smidgen_deltas.tar.paths import show
from smidgen_deltas.tardiff.old_files import OpenFile
from smidgen_deltas.tardiff.operations import Add, Copy, Data, Dictionary, Open, Operation, OperationsInvalid, Seek
from smidgen_deltas.tardiff.prefix import unpack
from smidgen_deltas.tardiff.stream import read_operations

MAX_TAR: Final = 1 << 40
BLOCK: Final = 1 << 20
KEPT: Final = 64  # sources kept open


@dataclass(frozen=True, slots=True)
class Facts:
    """What a delta does.

    Args:
        size: bytes of the tar.
        sources: how many times a file is opened.
        literal, added, copied: bytes of the tar that come from the delta itself, from old files changed, from old files
            as they are.
        digest: of the tar, once it was put together.
    """

    size: int = 0
    sources: int = 0
    literal: int = 0
    added: int = 0
    copied: int = 0
    digest: Digest | None = None


class Sink(Protocol):
    """What the tar is written to."""

    def write(self, data: Buffer, /) -> object: ...


def check(delta: BinaryIO, open_file: OpenFile, limit: int = MAX_TAR) -> Facts:
    """Go through a delta without writing anything.

    Args:
        delta: stands at the delta's first byte.
        limit: most bytes of the tar.
    Raises OperationsInvalid, SourceMissing, LimitExceeded and all that `read_operations` and `open_file` raise.
    """
    place = _Place(open_file)
    counts = {Data: 0, Copy: 0, Add: 0, Dictionary: 0}
    size = opened = 0
    for at, operation in read_operations(delta):
        if isinstance(operation, Open):
            opened += 1
        grown = place.judge(at, operation)
        if grown:
            size += grown
            counts[type(operation)] += grown
            if size > limit:
                raise LimitExceeded("tar of a delta is longer than allowed", at=at, limit=limit)
    return Facts(size, opened, counts[Data] + counts[Dictionary], counts[Add], counts[Copy])


def replay(delta: BinaryIO, open_file: OpenFile) -> Iterator[Buffer]:
    """The new tar, in blocks. Only for a delta that `check` has passed: what is wrong is found late here.

    Raises (while iterating) as `check`.
    """
    place = _Place(open_file)
    for at, operation in read_operations(delta):
        yield from place.carry_out(at, operation)


def apply_delta(delta: BinaryIO, open_file: OpenFile, sink: Sink, expected: Digest | None = None) -> Facts:
    """Check a delta, then write the new tar.

    Args:
        delta: can be read twice, from its present position.
        expected: digest of the uncompressed tar (its diff_id).
    Raises as `check`; DigestMismatch when all was written: the caller throws that away.
    """
    start = delta.tell()
    facts = check(delta, open_file)
    delta.seek(start)
    algorithm = expected.algorithm if expected else "sha256"
    hasher = hashlib.new(algorithm)
    for block in replay(delta, open_file):
        hasher.update(block)
        sink.write(block)
    found = Digest(algorithm, hasher.hexdigest())
    if expected and found != expected:
        raise DigestMismatch(
            "the delta does not make the tar that was promised", expected=str(expected), found=str(found)
        )
    return replace(facts, digest=found)


class _Place:
    """The source and the place in it."""

    def __init__(self, open_file: OpenFile) -> None:
        self._open_file = open_file
        self._kept: OrderedDict[bytes, Buffer] = OrderedDict()
        self._path = b""
        self._source = memoryview(b"")
        self._at = 0

    def judge(self, at: int, operation: Operation) -> int:
        """Bytes of the tar that an operation makes. Raises as `check`."""
        match operation:
            case Data(data):
                return len(data)
            case Open(path):
                self._path, self._at = path, 0
                self._source = memoryview(self._opened(path)).cast("B")
                return 0
            case Seek(offset):
                self._at = offset
                return 0
            case Copy(size):
                self._take(at, size)
                return size
            case Add(data):
                self._take(at, len(data))
                return len(data)
            case Dictionary(frame):
                self._at = len(self._source)
                return sum(map(len, unpack(frame, self._source, at)))

    def carry_out(self, at: int, operation: Operation) -> Iterator[Buffer]:
        match operation:
            case Data(data):
                yield data
            case Copy(size):
                taken = self._take(at, size)
                for start in range(0, size, BLOCK):
                    yield taken[start : start + BLOCK]
            case Add(data):
                result = bytearray(self._take(at, len(data)))
                add(result, data)
                yield memoryview(result)
            case Dictionary(frame):
                self._at = len(self._source)
                yield from unpack(frame, self._source, at)
            case _:
                self.judge(at, operation)

    def _opened(self, path: bytes) -> Buffer:
        if path in self._kept:
            self._kept.move_to_end(path)
        else:
            self._kept[path] = self._open_file(path)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[path]

    def _take(self, at: int, size: int) -> memoryview:
        if self._at > len(self._source) - size:
            raise OperationsInvalid(
                "operation reads beyond the end of its source",
                at=at,
                path=show(self._path),
                offset=self._at,
                wanted=size,
                size=len(self._source),
            )
        self._at += size
        return self._source[self._at - size : self._at]
