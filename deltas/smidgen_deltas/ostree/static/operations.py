"""The operations of a part: bytes -> typed steps -> bytes, with the rules of their order.

An operation is one letter and varints (7 bits a byte, low group first, at most ten bytes). `S` `o` begin an object and
take the next name from the part's list; how `S` reads depends on the type of that object.

Rules enforced here
 * an offset and a length stay inside the blob, an index inside its table
 * `w` and `B` stand between `o` and `c`; `B` fills the whole object and needs a source
 * `o` only for files, and at the end no object is open and every name was taken
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import FormatError
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, ObjectName, ObjectType
from smidgen_deltas.wire import MAX_VARINT_BYTES, put_varint

MAX_NUMBER: Final = (1 << 63) - 1


class OperationInvalid(FormatError):
    """The operations of a part break the rules. Detail names the part's offset and object where known."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """`S` for a dirtree, dirmeta or commit: the object is blob[offset, +length]."""

    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class Whole:
    """`S` for a file: content, or a symlink's target, is blob[offset, +size]. mode, xattrs: places in the tables."""

    mode: int
    xattrs: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Open:
    """`o`: a regular file of `size` bytes begins."""

    mode: int
    xattrs: int
    size: int


@dataclass(frozen=True, slots=True)
class Source:
    """`r`: read from the file object whose checksum is blob[offset, +32]."""

    offset: int


@dataclass(frozen=True, slots=True)
class NoSource:
    """`R`: read from the blob again."""


@dataclass(frozen=True, slots=True)
class Write:
    """`w`: append [offset, +length] of the source if one is set, else of the blob."""

    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class Patch:
    """`B`: the whole object by the bsdiff stream blob[offset, +length] from the source."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Close:
    """`c`: the object is complete; the source is unset."""


Operation = Metadata | Whole | Open | Source | NoSource | Write | Patch | Close

_FIELDS: Final[dict[type[Operation], tuple[bytes, tuple[str, ...]]]] = {
    Metadata: (b"S", ("length", "offset")),
    Whole: (b"S", ("mode", "xattrs", "size", "offset")),
    Open: (b"o", ("mode", "xattrs", "size")),
    Source: (b"r", ("offset",)),
    NoSource: (b"R", ()),
    Write: (b"w", ("length", "offset")),
    Patch: (b"B", ("offset", "length")),
    Close: (b"c", ()),
}
_LETTERS: Final = {letter[0]: kind for kind, (letter, _) in _FIELDS.items() if letter != b"S"}


@dataclass(frozen=True, slots=True)
class Tables:
    """How large the tables of a part are: entries of modes and of xattrs, bytes of the blob."""

    modes: int
    xattrs: int
    blob: int


def encode_operations(operations: Iterable[Operation]) -> bytes:
    """The bytes of a part's operations."""
    out = bytearray()
    for operation in operations:
        letter, fields = _FIELDS[type(operation)]
        out += letter
        for name in fields:
            put_varint(out, getattr(operation, name))
    return bytes(out)


def decode_operations(data: bytes, objects: Sequence[ObjectName], tables: Tables) -> list[tuple[int, Operation]]:
    """All operations, each with the number of the object it belongs to. Raises OperationInvalid."""
    return _Reader(data, objects, tables).run()


class _Reader:
    def __init__(self, data: bytes, objects: Sequence[ObjectName], tables: Tables) -> None:
        self._data, self._objects, self._tables = data, objects, tables
        self._at = 0
        self._next = 0  # object to come
        self._open: Open | None = None
        self._left = 0  # bytes that the open object still lacks
        self._sourced = False

    def run(self) -> list[tuple[int, Operation]]:
        found: list[tuple[int, Operation]] = []
        while self._at < len(self._data):
            start = self._at
            operation = self._read()
            number = self._next - (self._open is not None)
            self._judge(operation, start)
            found.append((max(number, 0), operation))
        if self._open is not None:
            raise self._wrong("operations end inside an object", self._at)
        if self._next != len(self._objects):
            raise self._wrong("operations make fewer objects than are listed", self._at, listed=len(self._objects))
        return found

    def _read(self) -> Operation:
        letter = self._data[self._at]
        self._at += 1
        if letter == 0x53:
            is_file = self._peek().type is ObjectType.FILE
            kind: type[Operation] = Whole if is_file else Metadata
        else:
            known = _LETTERS.get(letter)
            if known is None:
                raise self._wrong("unknown operation", self._at - 1, operation=letter)
            kind = known
        numbers = [self._number(name) for name in _FIELDS[kind][1]]
        return kind(*numbers)

    def _number(self, name: str) -> int:
        value = 0
        for place in range(MAX_VARINT_BYTES):
            if self._at >= len(self._data):
                raise self._wrong("operations end inside a number", self._at, field=name)
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if value > MAX_NUMBER:
                    break
                return value
        raise self._wrong("number is too long", self._at, field=name)

    def _peek(self) -> ObjectName:
        if self._next >= len(self._objects):
            raise self._wrong("operations make more objects than are listed", self._at, listed=len(self._objects))
        return self._objects[self._next]

    def _judge(self, operation: Operation, at: int) -> None:
        """Whether the operation may stand here; what it does to the state."""
        match operation:
            case Metadata(length, offset):
                self._begin(at)
                self._inside(offset, length, at)
            case Whole(mode, xattrs, size, offset):
                self._begin(at)
                self._known(mode, xattrs, at)
                self._inside(offset, size, at)
            case Open():
                self._begin(at)
                self._known(operation.mode, operation.xattrs, at)
                if self._objects[self._next - 1].type is not ObjectType.FILE:
                    raise self._wrong("only files can be opened", at)
                self._open, self._left = operation, operation.size
            case Source(offset):
                self._inside(offset, CHECKSUM_SIZE, at)
                self._sourced = True
            case NoSource():
                self._sourced = False
            case Close():
                self._end(at)
            case _:
                self._append(operation, at)

    def _begin(self, at: int) -> None:
        if self._open is not None:
            raise self._wrong("an object begins inside another", at)
        self._peek()
        self._next += 1
        self._sourced = self._sourced and self._data[at] == ord("o")

    def _append(self, operation: Write | Patch, at: int) -> None:
        if self._open is None:
            raise self._wrong("bytes are written outside of an object", at)
        if isinstance(operation, Patch):
            self._inside(operation.offset, operation.length, at)
            if not self._sourced:
                raise self._wrong("a patch has no source", at)
            length = self._open.size
        else:
            length = operation.length
            if not self._sourced:
                self._inside(operation.offset, length, at)
        if length > self._left:
            raise self._wrong("object becomes larger than declared", at, size=self._open.size)
        self._left -= length

    def _end(self, at: int) -> None:
        if self._open is None:
            raise self._wrong("an object is closed that is not open", at)
        if self._left:
            raise self._wrong("object is smaller than declared", at, size=self._open.size, missing=self._left)
        self._open, self._sourced = None, False

    def _known(self, mode: int, xattrs: int, at: int) -> None:
        if mode >= self._tables.modes or xattrs >= self._tables.xattrs:
            raise self._wrong("operation names an entry that its table lacks", at, mode=mode, xattrs=xattrs)

    def _inside(self, offset: int, length: int, at: int) -> None:
        if offset > self._tables.blob or length > self._tables.blob - offset:
            raise self._wrong(
                "operation leaves the part's data", at, offset=offset, length=length, data=self._tables.blob
            )

    def _wrong(self, message: str, at: int, **detail: object) -> OperationInvalid:
        last = self._objects[min(self._next, len(self._objects)) - 1] if self._objects and self._next else None
        return OperationInvalid(message, at=at, object=str(last or "-"), **detail)
