"""The smidgen delta: the byte format, nothing else. See DELTA-FORMAT.md.

A header with all bounds and the digests of all frames, then the frames. Each frame is verified before it is decoded and
needs nothing of the frames before it but the files that they rebuilt, so a download resumes at any of them.

Rules enforced here
 * unknown feature bits and transforms are refused before anything else is read
 * the header is hashed before it is decoded, frames likewise, and none is larger than the header said
 * every reference points back: at a source, or at a target that comes earlier
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, UnsupportedFeature
from smidgen_deltas.wire import WireReader, put_bytes, put_varint

MAGIC: Final = b"smdelta1"
KNOWN_FEATURES: Final = 0
MAX_HEADER: Final = 64 << 20
MAX_FRAME: Final = 1 << 31
MAX_SIZE: Final = 1 << 48
MAX_DEPTH: Final = 4
MAX_STREAMS: Final = 1 << 20
LEAD: Final = 64  # bytes that surely hold magic, features, sizes and digest of the header


class DeltaCorrupt(FormatError):
    """A delta contradicts itself."""

    code = "DIGEST_INVALID"


class Root(IntEnum):
    """What the delta rebuilds: one plain file, or a tree document and its contents."""

    FILE = 0
    TREE = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A source or target. Targets but the first may be named by `index` into the contents of the first instead."""

    size: int
    sha256: bytes | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """size: as stored; raw: bytes of its decoded streams together; targets: how many it rebuilds."""

    size: int
    raw: int
    targets: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Transform:
    """A named, versioned thing that the applier must be able to do bit for bit."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that is known before the first frame. Sizes in bytes."""

    root: Root
    memory: int
    transforms: tuple[Transform, ...]
    sources: tuple[Entry, ...]
    targets: tuple[Entry, ...]
    frames: tuple[FrameInfo, ...]

    @property
    def output(self) -> int:
        return sum(target.size for target in self.targets)


# -- operations --------------------------------------------------------------------------------------------------------


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
    """engine.patch: transform number and lengths of control, diff and extra in their streams."""

    ref: Ref
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
STREAMS: Final = ("control", "diff", "extra", "literal")
_WHOLE, _COPY, _PATCHED, _REPACKED = range(4)


def encode_op(out: bytearray, op: Op, table: dict[Transform, int]) -> None:
    """Append one operation; transforms that are not in `table` are added to it."""
    if isinstance(op, Whole):
        out.append(_WHOLE)
    elif isinstance(op, Copy):
        out.append(_COPY)
        _put_ref(out, op.ref, table)
    elif isinstance(op, Patched):
        out.append(_PATCHED)
        _put_ref(out, op.ref, table)
        for value in (op.transform, op.control, op.diff, op.extra):
            put_varint(out, value)
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


def decode_op(reader: WireReader, transforms: tuple[Transform, ...], bounds: Bounds, depth: int = 0) -> Op:
    """Read one operation. Raises DeltaCorrupt for a reference outside of `bounds`."""
    kind = reader.take(1)[0]
    if kind == _WHOLE:
        return Whole()
    if kind == _COPY:
        return Copy(_ref(reader, transforms, bounds))
    if kind == _PATCHED:
        ref = _ref(reader, transforms, bounds)
        numbers = [reader.number(MAX_SIZE, name) for name in ("transform", "control", "diff", "extra")]
        return Patched(ref, *numbers)
    if kind != _REPACKED:
        raise UnsupportedFeature("delta has an unknown operation", offset=reader.offset, operation=kind)
    if depth >= MAX_DEPTH:
        raise LimitExceeded("files are taken apart too deep", offset=reader.offset, limit=MAX_DEPTH)
    transform = _transform(reader, transforms)
    recipe = reader.number(MAX_FRAME, "recipe")
    count = reader.number(min(reader.left // 2, MAX_STREAMS), "stream count")
    streams = tuple(
        Inner(reader.number(MAX_SIZE, "stream size"), decode_op(reader, transforms, bounds, depth + 1))
        for _ in range(count)
    )
    return Repacked(transform, recipe, streams)


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


# -- header ------------------------------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """Magic, features, sizes, digest, and the header as one zstd frame."""
    raw = bytearray()
    put_varint(raw, header.root)
    put_varint(raw, header.memory)
    put_varint(raw, len(header.transforms))
    for transform in header.transforms:
        put_bytes(raw, transform.name.encode())
        put_varint(raw, transform.version)
    _put_entries(raw, header.sources)
    _put_entries(raw, header.targets)
    put_varint(raw, len(header.frames))
    for frame in header.frames:
        for value in (frame.size, frame.raw, frame.targets):
            put_varint(raw, value)
    raw += b"".join(frame.sha256 for frame in header.frames)
    stored = zstd.compress(raw, 19)
    out = bytearray(MAGIC)
    put_varint(out, KNOWN_FEATURES)
    put_varint(out, len(stored))
    put_varint(out, len(raw))
    return bytes(out) + hashlib.sha256(stored).digest() + stored


@dataclass(frozen=True, slots=True)
class Lead:
    """The first bytes of a delta: where the header begins and how long it is."""

    start: int
    size: int
    raw: int
    sha256: bytes


def decode_lead(data: bytes) -> Lead:
    """Read the first LEAD bytes (fewer if the delta is shorter)."""
    reader = WireReader(data, "smidgen delta")
    reader.expect(MAGIC)
    features = reader.number((1 << 64) - 1, "features")
    if features & ~KNOWN_FEATURES:
        raise UnsupportedFeature("delta needs features that this version does not have", features=hex(features))
    size = reader.number(MAX_HEADER, "header size")
    raw = reader.number(MAX_HEADER, "raw header size")
    digest = reader.take(32)
    return Lead(reader.offset, size, raw, digest)


def decode_header(lead: Lead, stored: bytes) -> Header:
    """Check and parse the stored header. Raises DigestMismatch, DeltaCorrupt, WireCorrupt, LimitExceeded."""
    found = hashlib.sha256(stored).digest()
    if found != lead.sha256:
        raise DigestMismatch("delta header is damaged", expected=lead.sha256.hex(), found=found.hex())
    reader = WireReader(zstd.decompress(stored, lead.raw), "delta header")
    root = Root.TREE if reader.number(1, "root") else Root.FILE
    memory = reader.number(MAX_SIZE, "memory")
    transforms = tuple(_transforms(reader))
    sources = _entries(reader)
    targets = _entries(reader)
    numbers = [
        (
            reader.number(MAX_FRAME, "frame size"),
            reader.number(MAX_SIZE, "raw frame size"),
            reader.number(len(targets), "frame targets"),
        )
        for _ in range(reader.number(reader.left // 35, "frame count"))
    ]
    frames = tuple(FrameInfo(*entry, reader.take(32)) for entry in numbers)
    reader.done()
    header = Header(root, memory, transforms, sources, targets, frames)
    _check(header)
    return header


def check_frame(frame: FrameInfo, stored: bytes) -> None:
    """Raise DigestMismatch unless `stored` is that frame."""
    found = hashlib.sha256(stored).digest()
    if len(stored) != frame.size or found != frame.sha256:
        raise DigestMismatch("delta frame is damaged", expected=frame.sha256.hex(), found=found.hex())


def _check(header: Header) -> None:
    if sum(frame.targets for frame in header.frames) != len(header.targets) or not header.targets:
        raise DeltaCorrupt("frames do not rebuild the targets", targets=len(header.targets))
    if header.targets[0].sha256 is None:
        raise DeltaCorrupt("the first target has no digest")
    if header.root is Root.FILE and len(header.targets) != 1:
        raise DeltaCorrupt("a plain file with several targets", targets=len(header.targets))
    if any(source.sha256 is None for source in header.sources):
        raise DeltaCorrupt("source without a digest")


def _transforms(reader: WireReader) -> Iterator[Transform]:
    for _ in range(reader.number(256, "transform count")):
        name = reader.block(64, "transform name").decode("ascii", "replace")
        yield Transform(name, reader.number(1 << 32, "transform version"))


def _put_entries(out: bytearray, entries: tuple[Entry, ...]) -> None:
    """Size, then 0 and the digest, or 1 and the step of the index (zigzag) from the entry before."""
    put_varint(out, len(entries))
    last = 0
    for entry in entries:
        put_varint(out, entry.size)
        if entry.sha256 is not None:
            out.append(0)
            out += entry.sha256
            continue
        out.append(1)
        step = entry.index - last
        put_varint(out, 2 * step if step >= 0 else -2 * step - 1)
        last = entry.index


def _entries(reader: WireReader) -> tuple[Entry, ...]:
    found = []
    last = 0
    for _ in range(reader.number(reader.left // 3, "entry count")):
        size = reader.number(MAX_SIZE, "size")
        if reader.number(1, "kind of entry") == 0:
            found.append(Entry(size, reader.take(32)))
            continue
        code = reader.number(1 << 33, "index")
        last += -((code + 1) // 2) if code % 2 else code // 2
        if last < 0:
            raise DeltaCorrupt("negative index", offset=reader.offset)
        found.append(Entry(size, None, last))
    return tuple(found)
