"""Applying a delta: a frame at a time, each verified before it is decoded, each target hashed while it is written.

    applier = Applier(header, store)
    for frame in header.frames: applier.frame(stored bytes)

Frames are fed in order; those whose targets are in the store already may be skipped, which is how an interrupted
application goes on. `with applier.threads(executor, memory):` targets are rebuilt at the same time unless one needs the
other, and the next frame is decoded meanwhile; results and errors are the same.
Memory: what the header says, for one frame with its streams and one target in work, or what `threads` allows; sources
are read where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain
from typing import Final, Protocol

from smidgen_deltas.engine import coding
from smidgen_deltas.engine.cursors import Cursors
from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.patch import BLOCK, PLAIN, TRANSFORMS, Patch, apply_patch
from smidgen_deltas.engine.scratch import HELD, gather, spool
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.workers import Work
from smidgen_deltas.errors import DigestMismatch, FormatError, NotFound, SizeMismatch, UnsupportedFeature
from smidgen_deltas.native.delta import DeltaCorrupt, Header, Root, Transform, check_frame
from smidgen_deltas.native.delta_ops import Bounds, Copy, Op, Part, Patched, Ref, Repacked, Space, Whole, decode_op
from smidgen_deltas.native.tree import ContentRef, decode_contents
from smidgen_deltas.wire import WireReader

MAX_INNER: Final = 1 << 30
PIECE: Final = 1 << 20
LONG: Final = 1 << 20  # bytes; smaller targets are over before another thread has begun, unless encoders run


class Writer(Protocol):
    """One target on its way. Unless `finish` is called, nothing of it may become visible."""

    def write(self, data: Buffer, /) -> object: ...
    def finish(self) -> object: ...


class Store(Protocol):
    """Where old files come from and new ones go, by digest. With an executor, several threads use it at once."""

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
        self._work = Work()
        self._sources = [ContentRef(entry.sha256 or b"", entry.size) for entry in header.sources]
        self._contents: list[ContentRef] = []
        if header.root is Root.TREE:
            for source in self._sources:
                self._contents += decode_contents(store.open(source))
        self._targets: list[ContentRef] = []
        self._document: tuple[ContentRef, ...] | None = None
        self._open: _Open | None = None
        self._touched = header.touched()
        self._frames = 0

    @property
    def done(self) -> bool:
        return self._frames == len(self._header.frames)

    @property
    def memory(self) -> int:
        """Bytes that rebuilding takes at most, one target after the other."""
        return self._header.memory

    @property
    def root(self) -> ContentRef:
        """The file or tree document that the delta rebuilds."""
        entry = self._header.targets[0]
        return ContentRef(entry.sha256 or b"", entry.size)

    @property
    def contents(self) -> tuple[ContentRef, ...]:
        """Those of the tree document, which must be rebuilt. Raises NotFound, FormatError."""
        if self._document is None:
            self._document = decode_contents(self._store.open(self.root))
        return self._document

    @contextmanager
    def threads(self, executor: Executor, memory: int) -> Iterator[None]:
        """Rebuild targets by the executor's threads. At the end of the context all are finished.

        Args:
            memory: bytes that all together may take; as the header declares, or less: one target after the other.
        Raises at its end the first error of a target, if no call of `frame` did; nothing is in work any more then.
        """
        self._work = Work(executor, memory - self._header.memory)
        try:
            yield
        finally:
            work, self._work = self._work, Work()
            work.settle()

    def frame(self, stored: bytes) -> None:
        """Verify the next frame and rebuild its targets; with `threads`, some of them may end later.

        Raises DigestMismatch, DeltaCorrupt and other FormatErrors, NotFound for a source that is not there; the targets
        that were finished stay.
        """
        try:
            self._apply(stored)
        except BaseException:
            self._work.settle()  # an earlier target's error is the one to be told
            raise

    def _apply(self, stored: bytes) -> None:
        info = self._header.frames[self._frames]
        check_frame(info, stored)
        with self._work.beside(2 * info.size + info.raw):
            parts = coding.unpack(stored, info.raw)
        ops = WireReader(parts.ops, "delta operations")
        cursors = Cursors(parts)
        end = len(self._targets) + info.targets
        while len(self._targets) < end or ops.left:
            self._next(ops, cursors, end + info.open)
        if not self._frames:
            self._work.wait()  # the tree document, which all others need
        if len(self._targets) != end or (self._open is not None) != info.open:
            raise DeltaCorrupt("frame does not end where its header says", targets=len(self._targets), expected=end)
        cursors.done()
        self._frames += 1

    def skip(self) -> None:
        """Pass over a frame all of whose targets are in the store already."""
        info = self._header.frames[self._frames]
        for _ in range(info.targets):
            self._targets.append(self._target(len(self._targets)))
        self._open = _Open(self._target(len(self._targets)), None) if info.open else None
        self._frames += 1

    def frame_targets(self) -> Iterator[ContentRef]:
        """What the next frame would rebuild, or a part of it. The tree document must be there for any but the first."""
        for number in self._touched[self._frames]:
            yield self._target(number)

    def close(self) -> None:
        """Give up a target that is not complete."""
        if self._open is not None:
            self._open.close()

    def _next(self, ops: WireReader, cursors: Cursors, limit: int) -> None:
        """One operation: a target or a part of one."""
        number = len(self._targets)
        if number >= limit:
            raise DeltaCorrupt("frame has more operations than targets", offset=ops.offset)
        target = self._open.target if self._open else self._target(number)
        op = decode_op(ops, self._header.transforms, Bounds(len(self._sources), number, len(self._contents)))
        if isinstance(op, Part):
            self._part(target, op, cursors)
            return
        if self._open is not None:
            raise DeltaCorrupt("operation inside of a target that has parts", offset=ops.offset)
        slices = list(cursors.of(op, target.size))
        self._work.wait(_needed(op))
        self._targets.append(target)
        needs = _memory(op, target.size, iter(slices)) if self._work.several else 0
        long = target.size >= LONG or isinstance(op, Repacked)
        self._work.run(number, needs, lambda: self._rebuild(target, op, slices), long=long)

    def _part(self, target: ContentRef, op: Part, cursors: Cursors) -> None:
        slices = list(cursors.of(op.op, op.size))
        self._work.wait()
        if self._open is None:
            self._open = _Open(target, self._store)
        if self._open.add(op.size, self._run(op.op, op.size, iter(slices), {})):
            self._targets.append(target)
            self._open = None

    def _target(self, number: int) -> ContentRef:
        entry = self._header.targets[number]
        if entry.sha256 is not None:
            return ContentRef(entry.sha256, entry.size)
        contents = self.contents
        if entry.index >= len(contents) or contents[entry.index].size != entry.size:
            raise DeltaCorrupt("target is not in the tree document", index=entry.index, size=entry.size)
        return contents[entry.index]

    def _rebuild(self, target: ContentRef, op: Op, slices: list[Buffer]) -> None:
        opened = _Open(target, self._store)
        try:
            opened.add(target.size, self._run(op, target.size, iter(slices), {}))
        finally:
            opened.close()

    def _run(self, op: Op, size: int, slices: Iterator[Buffer], seen: _Seen) -> Iterable[Buffer]:
        """The bytes of an operation; `slices`: what it takes from the streams, in order."""
        if isinstance(op, Whole):
            return _pieces(next(slices))
        if isinstance(op, Copy):
            return _pieces(self._read(op.ref, seen))
        if isinstance(op, Patched):
            if op.transform not in TRANSFORMS:
                raise UnsupportedFeature("delta needs a transform that is not known here", transform=op.transform)
            patch = Patch(op.transform, bytes(next(slices)), next(slices), next(slices))
            return apply_patch(patch, self._read_all(op.refs, seen), size)
        recipe = bytes(next(slices))
        if sum(inner.size for inner in op.streams) > MAX_INNER:
            raise DeltaCorrupt("streams are larger than allowed", limit=MAX_INNER)
        streams = [gather(self._run(inner.op, inner.size, slices, seen), inner.size) for inner in op.streams]
        return registry.repack(op.transform.name, op.transform.version, recipe, streams, limit=size)

    def _read_all(self, refs: tuple[Ref, ...], seen: _Seen) -> Buffer:
        parts = [self._read(ref, seen) for ref in refs]
        if len(parts) == 1:
            return parts[0]
        return gather(chain.from_iterable(map(_pieces, parts)), sum(len(part) for part in parts))

    def _read(self, ref: Ref, seen: _Seen) -> Buffer:
        table = {Space.SOURCE: self._sources, Space.TARGET: self._targets, Space.CONTENT: self._contents}[ref.space]
        data = self._store.open(table[ref.number])
        for depth, (transform, stream) in enumerate(ref.path):
            key = Ref(ref.space, ref.number, ref.path[:depth])
            streams = seen.get(key)
            if streams is None:
                streams = tuple(map(spool, registry.reveal(transform.name, transform.version, data, MAX_INNER)))
                seen[key] = streams
            if stream >= len(streams):
                raise NotFound("source has no such stream", stream=stream, streams=len(streams))
            data = streams[stream]
        return data


_Seen = dict[Ref, tuple[Buffer, ...]]  # sources that were taken apart for one target


class _Open:
    """A target that is being written: hashed and counted. Without a store it was there before and is only counted."""

    def __init__(self, target: ContentRef, store: Store | None) -> None:
        self.target = target
        self._hasher = hashlib.sha256()
        self._stack = ExitStack()
        self._done = 0
        self._writer = self._stack.enter_context(store.create(target)) if store else None

    def add(self, size: int, pieces: Iterable[Buffer]) -> bool:
        """Write the next `size` bytes; True when that was the end of the target, which is finished then."""
        end = self._done + size
        if end > self.target.size:
            raise SizeMismatch("parts are larger than their file", expected=self.target.size, found=end)
        for piece in pieces if self._writer else ():
            self._done += len(piece)
            if self._done > end:
                break
            self._hasher.update(piece)
            self._writer.write(piece)  # type: ignore[union-attr]
        if self._writer and self._done != end:
            raise SizeMismatch("rebuilt file has the wrong size", digest=self.target.sha256.hex(), expected=end)
        self._done = end
        if end < self.target.size:
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        if self._writer is None:
            return
        if self._hasher.digest() != self.target.sha256:
            expected, found = self.target.sha256.hex(), self._hasher.hexdigest()
            raise DigestMismatch("rebuilt file is not what was promised", expected=expected, found=found)
        self._writer.finish()
        self.close()

    def close(self) -> None:
        self._stack.close()


def _needed(op: Op) -> frozenset[int]:
    """Numbers of targets that an operation reads."""
    if isinstance(op, Copy):
        refs: tuple[Ref, ...] = (op.ref,)
    elif isinstance(op, Patched):
        refs = op.refs
    elif isinstance(op, Repacked):
        return frozenset().union(*(_needed(inner.op) for inner in op.streams))
    else:
        refs = ()
    return frozenset(ref.number for ref in refs if ref.space is Space.TARGET)


def _memory(op: Op, size: int, slices: Iterator[Buffer]) -> int:
    """Bytes that an operation takes beside the streams of its frame; `slices` as for `Applier._run`."""
    if isinstance(op, Whole | Copy):
        return 0  # views
    if isinstance(op, Patched):
        for _ in range(3):
            next(slices)
        return 3 * size if op.transform != PLAIN else 2 * min(size, BLOCK)
    recipe = bytes(next(slices))
    try:
        own = registry.cost(op.transform.name, op.transform.version, recipe).memory
    except FormatError:
        own = 0  # the recipe will be refused
    held = sum(min(inner.size, HELD) for inner in op.streams)
    return held + max(own, *(_memory(inner.op, inner.size, slices) for inner in op.streams), 0)


def _can(transform: Transform) -> bool:
    return any((known.name, known.version) == (transform.name, transform.version) for known in registry.UNPACKERS)


def _pieces(data: Buffer) -> Iterator[Buffer]:
    view, pages = memoryview(data), Pages((data,), 8 * PIECE)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
        pages.passed(PIECE)
