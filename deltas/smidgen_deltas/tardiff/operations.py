"""The operations of a tar-diff, as bytes and back. Pure.

An operation is a byte for its kind, a varint, and for some kinds as many bytes as the varint says. They run to the
end of the stream; neither their number nor the size of the result is written anywhere.

Rules enforced here
 * no operation needs a source before one was opened
 * a path has no NUL, does not lead upward and is not longer than MAX_PATH
 * numbers fit into 63 bits, as the stock applier's do; zeros on top of a number are allowed, as there
 * what must be held as a whole (a path, a dictionary's frame) is bounded before it is read
Operations that only carry bytes may come out in pieces: writing or adding them one after the other is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.paths import MAX_PATH, clean, show
from smidgen_deltas.wire import varint

MAX_NUMBER: Final = (1 << 63) - 1
MAX_VARINT: Final = 9  # bytes of a number below 2**63
MAX_ADDED: Final = 100 << 20  # of one operation; recent stock appliers refuse more
MAX_FRAME: Final = 128 << 20
PIECE: Final = 1 << 20


class Kind(IntEnum):
    """The first byte of an operation."""

    DATA = 0
    OPEN = 1
    COPY = 2
    ADD = 3
    SEEK = 4
    DICTIONARY = 5  # version 2 only


_SOURCED: Final = frozenset({Kind.COPY, Kind.ADD, Kind.SEEK, Kind.DICTIONARY})


class OperationsInvalid(FormatError):
    """The operations of a tar-diff are not what the format says. Detail: `at`, an offset in the unpacked stream."""


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the result."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class Open:
    """Read from this file from now on, from its start. path: in its one spelling, relative."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """The next `size` bytes of the source."""

    size: int


@dataclass(frozen=True, slots=True)
class Add:
    """The next bytes of the source, each plus one of these (mod 256)."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class Seek:
    """Go on reading the source at `offset`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Dictionary:
    """What a zstd frame yields with the whole source as its dictionary. Afterwards the source is at its end."""

    frame: bytes


Operation = Data | Open | Copy | Add | Seek | Dictionary


def encode(operation: Operation) -> Iterator[Buffer]:
    """The bytes of an operation, in pieces: its head, and what it carries."""
    match operation:
        case Data(data):
            yield bytes((Kind.DATA,)) + varint(len(data))
            yield data
        case Open(path):
            yield bytes((Kind.OPEN,)) + varint(len(path)) + path
        case Copy(size):
            yield bytes((Kind.COPY,)) + varint(size)
        case Add(data):
            yield bytes((Kind.ADD,)) + varint(len(data))
            yield data
        case Seek(offset):
            yield bytes((Kind.SEEK,)) + varint(offset)
        case Dictionary(frame):
            yield bytes((Kind.DICTIONARY,)) + varint(len(frame))
            yield frame


def decode(blocks: Iterable[bytes], version: int = 1) -> Iterator[tuple[int, Operation]]:
    """The operations in an unpacked stream, each with its offset there.

    Args:
        blocks: the stream, in blocks of any size but 0.
        version: of the file; 2 allows Dictionary.
    Memory: a block, and the largest operation that has to be held as a whole; pieces of the others have at most PIECE
    bytes.
    Raises (while iterating) OperationsInvalid, LimitExceeded, UnsafePath, and what `blocks` raises.
    """
    cursor = _Cursor(blocks)
    opened = False
    while (kind := cursor.kind(version)) is not None:
        at = cursor.start
        size = cursor.number()
        if kind in _SOURCED and not opened:
            raise OperationsInvalid("operation before any source was opened", at=at, kind=kind.name)
        match kind:
            case Kind.COPY:
                yield at, Copy(size)
            case Kind.SEEK:
                yield at, Seek(size)
            case Kind.OPEN:
                opened = True
                yield at, Open(_path(cursor, size))
            case Kind.DICTIONARY:
                cursor.bound(size, MAX_FRAME, "dictionary's frame")
                yield at, Dictionary(b"".join(cursor.pieces(size)))
            case Kind.ADD:
                cursor.bound(size, MAX_ADDED, "added bytes")
                yield from ((at, Add(piece)) for piece in cursor.pieces(size))
            case Kind.DATA:
                yield from ((at, Data(piece)) for piece in cursor.pieces(size))


def _path(cursor: _Cursor, size: int) -> bytes:
    cursor.bound(size, MAX_PATH, "path")
    given = b"".join(cursor.pieces(size))
    try:
        path = clean(given.lstrip(b"/"))  # appliers take a path from the root as one from the top of the old files
    except UnsafePath as error:
        raise UnsafePath(error.message, at=cursor.start, path=show(given)) from error
    if not path:
        raise OperationsInvalid("source without a path", at=cursor.start, path=show(given))
    return path


class _Cursor:
    """A place in a stream of blocks. start: where the operation begins that is being read."""

    __slots__ = ("_at", "_block", "_blocks", "_passed", "start")

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._at = 0
        self._passed = 0
        self.start = 0

    def _more(self) -> bool:
        self._passed += len(self._block)
        self._block, self._at = next(self._blocks, b""), 0
        return bool(self._block)

    def _byte(self) -> int:
        if self._at == len(self._block) and not self._more():
            raise OperationsInvalid("operations end inside a number", at=self.start)
        self._at += 1
        return self._block[self._at - 1]

    def kind(self, version: int) -> Kind | None:
        """What the next operation is; None at the end."""
        if self._at == len(self._block) and not self._more():
            return None
        self.start = self._passed + self._at
        code = self._byte()
        if code > (Kind.SEEK if version == 1 else Kind.DICTIONARY):
            raise OperationsInvalid("unknown operation", at=self.start, kind=code, version=version)
        return Kind(code)

    def number(self) -> int:
        value = 0
        for place in range(MAX_VARINT + 1):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if value > MAX_NUMBER:
                    break
                return value
        raise OperationsInvalid("number is too long", at=self.start, limit=MAX_NUMBER)

    def bound(self, size: int, limit: int, what: str) -> None:
        if size > limit:
            raise LimitExceeded(f"{what} of an operation: too many", at=self.start, size=size, limit=limit)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes. Raises OperationsInvalid if there are fewer."""
        left = size
        while left:
            if self._at == len(self._block) and not self._more():
                raise OperationsInvalid("operation ends early", at=self.start, size=size, missing=left)
            piece = self._block[self._at : self._at + min(left, PIECE)]
            self._at += len(piece)
            left -= len(piece)
            yield piece
