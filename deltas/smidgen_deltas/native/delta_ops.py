"""The operations of a smidgen delta: how one target is made. See DELTA-FORMAT.md, "Frame".

Operations are data; `engine.apply` carries them out, `engine.choose` makes them. A reference can only point back: at a
source, or at a target that was rebuilt earlier. Transforms are numbers into the header's list.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from smidgen_deltas.errors import LimitExceeded, UnsupportedFeature
from smidgen_deltas.native.delta import MAX_FRAME, MAX_SIZE, DeltaCorrupt, Transform
from smidgen_deltas.wire import WireReader, put_varint

MAX_DEPTH: Final = 4
MAX_STREAMS: Final = 1 << 20
MAX_SOURCES: Final = 8  # of one patch


class Space(IntEnum):
    """What a reference counts: sources, targets of this delta, or the contents of all source documents in a row."""

    SOURCE = 0
    TARGET = 1
    CONTENT = 2


@dataclass(frozen=True, slots=True)
class Ref:
    """Where old bytes come from.

    Args:
        path: pairs (transform, stream): take apart with that transform, go on with that stream.
    """

    space: Space
    number: int
    path: tuple[tuple[Transform, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """The bytes are in the literal stream."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes are those of `ref`."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Patched:
    """engine.patch: transform number and lengths of control, diff and extra in their streams.

    Args:
        refs: the old file; several are taken as one, one behind the other.
    """

    refs: tuple[Ref, ...]
    transform: int
    control: int
    diff: int
    extra: int


@dataclass(frozen=True, slots=True)
class Inner:
    """A stream of a file that was taken apart."""

    size: int
    op: Op


@dataclass(frozen=True, slots=True)
class Repacked:
    """Streams, each with an operation of its own, put together by `transform`; recipe: its length in the literals."""

    transform: Transform
    recipe: int
    streams: tuple[Inner, ...]


Op = Whole | Copy | Patched | Repacked


@dataclass(frozen=True, slots=True)
class Part:
    """The next `size` bytes of a target that is too large for one operation. The last part ends the target."""

    size: int
    op: Op


TargetOp = Op | Part
STREAMS: Final = ("control", "diff", "extra", "literal")
_WHOLE, _COPY, _PATCHED, _REPACKED, _PART = range(5)


def encode_op(out: bytearray, op: TargetOp, table: dict[Transform, int]) -> None:
    """Append one operation; transforms that are not in `table` are added to it."""
    if isinstance(op, Whole):
        out.append(_WHOLE)
    elif isinstance(op, Copy):
        out.append(_COPY)
        _put_ref(out, op.ref, table)
    elif isinstance(op, Patched):
        out.append(_PATCHED)
        put_varint(out, len(op.refs))
        for ref in op.refs:
            _put_ref(out, ref, table)
        for value in (op.transform, op.control, op.diff, op.extra):
            put_varint(out, value)
    elif isinstance(op, Part):
        out.append(_PART)
        put_varint(out, op.size)
        encode_op(out, op.op, table)
    else:
        out.append(_REPACKED)
        for value in (table.setdefault(op.transform, len(table)), op.recipe, len(op.streams)):
            put_varint(out, value)
        for inner in op.streams:
            put_varint(out, inner.size)
            encode_op(out, inner.op, table)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a reference may name at some point: how many sources, targets rebuilt so far, contents of the documents."""

    sources: int
    targets: int
    contents: int


def decode_op(reader: WireReader, transforms: tuple[Transform, ...], bounds: Bounds) -> TargetOp:
    """Read the operation of a target, or of a part of it.

    Raises DeltaCorrupt for a reference outside of `bounds`, UnsupportedFeature, LimitExceeded, WireCorrupt.
    """
    kind = reader.take(1)[0]
    if kind == _PART:
        size = reader.number(MAX_SIZE, "part size")
        return Part(size, _operation(reader, reader.take(1)[0], transforms, bounds, 0))
    return _operation(reader, kind, transforms, bounds, 0)


def _operation(reader: WireReader, kind: int, transforms: tuple[Transform, ...], bounds: Bounds, depth: int) -> Op:
    if kind == _WHOLE:
        return Whole()
    if kind == _COPY:
        return Copy(_ref(reader, transforms, bounds))
    if kind == _PATCHED:
        refs = tuple(_ref(reader, transforms, bounds) for _ in range(reader.number(MAX_SOURCES, "source count")))
        if not refs:
            raise DeltaCorrupt("patch of nothing", offset=reader.offset)
        numbers = [reader.number(MAX_SIZE, name) for name in ("transform", "control", "diff", "extra")]
        return Patched(refs, *numbers)
    if kind != _REPACKED:
        raise UnsupportedFeature("delta has an unknown operation", offset=reader.offset, operation=kind)
    if depth >= MAX_DEPTH:
        raise LimitExceeded("files are taken apart too deep", offset=reader.offset, limit=MAX_DEPTH)
    transform = _transform(reader, transforms)
    recipe = reader.number(MAX_FRAME, "recipe")
    count = reader.number(min(reader.left // 2, MAX_STREAMS), "stream count")
    streams = tuple(_inner(reader, transforms, bounds, depth + 1) for _ in range(count))
    return Repacked(transform, recipe, streams)


def _inner(reader: WireReader, transforms: tuple[Transform, ...], bounds: Bounds, depth: int) -> Inner:
    size = reader.number(MAX_SIZE, "stream size")
    return Inner(size, _operation(reader, reader.take(1)[0], transforms, bounds, depth))


def _transform(reader: WireReader, transforms: tuple[Transform, ...]) -> Transform:
    number = reader.number(max(len(transforms) - 1, 0), "transform")
    if not transforms:
        raise DeltaCorrupt("delta uses a transform that it does not declare", offset=reader.offset)
    return transforms[number]


def _put_ref(out: bytearray, ref: Ref, table: dict[Transform, int]) -> None:
    out.append(ref.space)
    put_varint(out, ref.number)
    put_varint(out, len(ref.path))
    for transform, stream in ref.path:
        put_varint(out, table.setdefault(transform, len(table)))
        put_varint(out, stream)


def _ref(reader: WireReader, transforms: tuple[Transform, ...], bounds: Bounds) -> Ref:
    code = reader.take(1)[0]
    if code > Space.CONTENT:
        raise UnsupportedFeature("delta refers to an unknown space", offset=reader.offset, space=code)
    space = Space(code)
    number = reader.number(MAX_SIZE, "reference")
    if number >= (bounds.sources, bounds.targets, bounds.contents)[space]:
        raise DeltaCorrupt("reference to what is not there", offset=reader.offset, space=space.name, number=number)
    steps = reader.number(MAX_DEPTH, "path length")
    path = tuple((_transform(reader, transforms), reader.number(MAX_STREAMS, "stream")) for _ in range(steps))
    return Ref(space, number, path)
