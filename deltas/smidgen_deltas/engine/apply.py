"""Applying a delta: a frame at a time, each verified before it is decoded, each target hashed while it is written.

    applier = Applier(header, store)
    for frame in header.frames: applier.frame(stored bytes)

Frames are fed in order; those whose targets are in the store already may be skipped, which is how an interrupted
application goes on.
Memory: one frame, its streams, and the largest target with its source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

from smidgen_deltas.engine import coding
from smidgen_deltas.engine.patch import TRANSFORMS, Patch, apply_patch
from smidgen_deltas.engine.reveal import reveal
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.errors import DigestMismatch, NotFound, SizeMismatch, UnsupportedFeature
from smidgen_deltas.native.delta import (
    Bounds,
    Copy,
    DeltaCorrupt,
    Header,
    Op,
    Patched,
    Ref,
    Root,
    Space,
    Transform,
    Whole,
    check_frame,
    decode_op,
)
from smidgen_deltas.native.tree import ContentRef, decode_contents
from smidgen_deltas.wire import WireReader

MAX_INNER: Final = 1 << 30
PIECE: Final = 1 << 20
_REVEALED: Final = 4  # revealed sources kept for the next stream


class Writer(Protocol):
    """One target on its way. Unless `finish` is called, nothing of it may become visible."""

    def write(self, data: Buffer, /) -> object: ...
    def finish(self) -> object: ...


class Store(Protocol):
    """Where old files come from and new ones go. Both are named by digest."""

    def open(self, content: ContentRef) -> Buffer:
        """All bytes of a source or finished target. Raises NotFound."""

    def create(self, content: ContentRef) -> AbstractContextManager[Writer]: ...


class Applier:
    """The state of one application. Build with the verified header."""

    def __init__(self, header: Header, store: Store) -> None:
        unknown = [transform.name for transform in header.transforms if not _can(transform)]
        if unknown:
            raise UnsupportedFeature("delta needs transforms that are not known here", transforms=unknown)
        self._header = header
        self._store = store
        self._sources = [ContentRef(entry.sha256 or b"", entry.size) for entry in header.sources]
        self._contents: list[ContentRef] = []
        if header.root is Root.TREE:
            for source in self._sources:
                self._contents += decode_contents(store.open(source))
        self._targets: list[ContentRef] = []
        self._document: tuple[ContentRef, ...] | None = None
        self._revealed: dict[tuple[Space, int, tuple[tuple[Transform, int], ...]], tuple[Buffer, ...]] = {}
        self._frames = 0

    @property
    def done(self) -> bool:
        return self._frames == len(self._header.frames)

    @property
    def root(self) -> ContentRef:
        """The file or tree document that the delta rebuilds."""
        entry = self._header.targets[0]
        return ContentRef(entry.sha256 or b"", entry.size)

    def frame(self, stored: bytes) -> None:
        """Verify the next frame and rebuild its targets.

        Raises DigestMismatch, DeltaCorrupt and other FormatErrors, NotFound for a source that is not there; the targets
        of frames before stay.
        """
        info = self._header.frames[self._frames]
        check_frame(info, stored)
        parts = coding.unpack(stored, info.raw)
        ops = WireReader(parts.ops, "delta operations")
        cursors = _Cursors(parts)
        for _ in range(info.targets):
            bounds = Bounds(len(self._sources), len(self._targets), len(self._contents))
            op = decode_op(ops, self._header.transforms, bounds)
            self._rebuild(self._next_target(), op, cursors)
        ops.done()
        cursors.done()
        self._frames += 1

    def skip(self) -> None:
        """Pass over a frame all of whose targets are in the store already."""
        for _ in range(self._header.frames[self._frames].targets):
            self._targets.append(self._next_target())
        self._frames += 1

    def frame_targets(self) -> Iterator[ContentRef]:
        """What the next frame would rebuild. The tree document must have been rebuilt for any but the first frame."""
        start = len(self._targets)
        for number in range(start, start + self._header.frames[self._frames].targets):
            yield self._target(number)

    def _next_target(self) -> ContentRef:
        return self._target(len(self._targets))

    def _target(self, number: int) -> ContentRef:
        entry = self._header.targets[number]
        if entry.sha256 is not None:
            return ContentRef(entry.sha256, entry.size)
        if self._document is None:
            self._document = decode_contents(self._store.open(self.root))
        if entry.index >= len(self._document) or self._document[entry.index].size != entry.size:
            raise DeltaCorrupt("target is not in the tree document", index=entry.index, size=entry.size)
        return self._document[entry.index]

    def _rebuild(self, target: ContentRef, op: Op, cursors: _Cursors) -> None:
        hasher = hashlib.sha256()
        done = 0
        with self._store.create(target) as writer:
            for piece in self._run(op, target.size, cursors):
                done += len(piece)
                if done > target.size:
                    break
                hasher.update(piece)
                writer.write(piece)
            if done != target.size:
                raise SizeMismatch("rebuilt file has the wrong size", digest=target.sha256.hex(), expected=target.size)
            if hasher.digest() != target.sha256:
                raise DigestMismatch(
                    "rebuilt file is not what was promised", expected=target.sha256.hex(), found=hasher.hexdigest()
                )
            writer.finish()
        self._targets.append(target)

    def _run(self, op: Op, size: int, cursors: _Cursors) -> Iterator[Buffer]:
        if isinstance(op, Whole):
            return _pieces(cursors.literal(size))
        if isinstance(op, Copy):
            return _pieces(memoryview(self._open(op.ref)))
        if isinstance(op, Patched):
            if op.transform not in TRANSFORMS:
                raise UnsupportedFeature("delta needs a transform that is not known here", transform=op.transform)
            patch = Patch(op.transform, cursors.control(op.control), cursors.diff(op.diff), cursors.extra(op.extra))
            return apply_patch(patch, self._open(op.ref), size)
        recipe = cursors.literal(op.recipe)
        if sum(inner.size for inner in op.streams) > MAX_INNER:
            raise DeltaCorrupt("streams are larger than allowed", limit=MAX_INNER)
        streams = [_gather(self._run(inner.op, inner.size, cursors), inner.size) for inner in op.streams]
        return registry.repack(op.transform.name, op.transform.version, bytes(recipe), streams, limit=size)

    def _open(self, ref: Ref) -> Buffer:
        table = {Space.SOURCE: self._sources, Space.TARGET: self._targets, Space.CONTENT: self._contents}[ref.space]
        data = self._store.open(table[ref.number])
        for depth, (transform, stream) in enumerate(ref.path):
            key = (ref.space, ref.number, ref.path[:depth])
            streams = self._revealed.get(key)
            if streams is None:
                streams = reveal(transform.name, transform.version, data, MAX_INNER)
                while len(self._revealed) >= _REVEALED:
                    del self._revealed[next(iter(self._revealed))]
                self._revealed[key] = streams
            if stream >= len(streams):
                raise NotFound("source has no such stream", stream=stream, streams=len(streams))
            data = streams[stream]
        return data


class _Cursors:
    """Places in the streams of a frame; what was not used at the end is an error."""

    def __init__(self, parts: coding.Streams) -> None:
        self._readers = {
            name: WireReader(part, f"delta {name}")
            for name, part in zip(coding.NAMES, parts.parts(), strict=True)
            if name != "ops"
        }

    def control(self, size: int) -> bytes:
        return self._readers["control"].take(size)

    def diff(self, size: int) -> bytes:
        return self._readers["diff"].take(size)

    def extra(self, size: int) -> bytes:
        return self._readers["extra"].take(size)

    def literal(self, size: int) -> bytes:
        return self._readers["literal"].take(size)

    def done(self) -> None:
        for reader in self._readers.values():
            reader.done()


def _can(transform: Transform) -> bool:
    return any((known.name, known.version) == (transform.name, transform.version) for known in registry.UNPACKERS)


def _gather(pieces: Iterable[Buffer], size: int) -> bytes:
    out = bytearray()
    for piece in pieces:
        out += piece
        if len(out) > size:
            break
    if len(out) != size:
        raise SizeMismatch("inner stream has the wrong size", expected=size, found=len(out))
    return bytes(out)


def _pieces(data: Buffer) -> Iterator[Buffer]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
