"""Making a delta: pair files, choose an operation for each, group the streams in frames, write.

Results depend on the input and the effort only, not on threads: each file is coded by itself and written in one order.
Memory: the frame that is being filled (FRAME_RAW) and, for each worker, the two files it compares, their index and
streams.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import IO, Final

from smidgen_deltas import zstd
from smidgen_deltas.engine import coding
from smidgen_deltas.engine.pairing import Candidate, Pairing
from smidgen_deltas.engine.patch import make_patch
from smidgen_deltas.engine.reveal import reveal
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.errors import FormatError
from smidgen_deltas.native.delta import (
    MAX_DEPTH,
    Copy,
    Entry,
    FrameInfo,
    Header,
    Inner,
    Op,
    Patched,
    Ref,
    Repacked,
    Root,
    Space,
    Transform,
    Whole,
    encode_header,
    encode_op,
)

FRAME_RAW: Final = 24 << 20
MAX_FILE: Final = 1 << 31
LARGEST_INNER: Final = 512 << 20
WORTH_LOOKING: Final = 512  # bytes; what costs less is not taken apart
_AHEAD: Final = 8  # files in work or waiting to be written
_LATE: Final = ("initrd", "initramfs", "vmlinuz", "linux-image")


@dataclass(frozen=True, slots=True)
class Coded:
    """An operation and what it puts into the streams of its frame; `weight` estimates the bytes it will cost."""

    op: Op
    control: bytes = b""
    diff: bytes = b""
    extra: bytes = b""
    literal: bytes = b""
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """What was done for one target, for people and reports."""

    path: str
    size: int
    method: str
    source: str
    weight: int


@dataclass(slots=True)
class Report:
    """The outcome of `make`."""

    size: int = 0
    output: int = 0
    sources: int = 0
    lines: list[Line] = field(default_factory=list)


def make(
    old: Sequence[Tree],
    new: Tree,
    out: IO[bytes],
    effort: str,
    executor: Executor,
    announce: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - the default says nothing
) -> Report:
    """Write a delta from all of `old` to `new`.

    Args:
        effort: "fast", "default" or "best".
        announce: called with bytes done and bytes in all.
    Raises what the contents raise when they are opened; FormatError never.
    """
    return _Maker(old, new, effort).run(out, executor, announce)


class _Maker:
    def __init__(self, old: Sequence[Tree], new: Tree, effort: str) -> None:
        self._new = new
        self._effort = effort
        self._old = [tree for tree in old if (tree.document is None) == (new.document is None)]
        self._candidates = [
            (tree, content, path) for tree in self._old for content, path in zip(tree.contents, tree.paths, strict=True)
        ]
        self._known: dict[bytes, int] = {}
        for number, (_, content, _) in enumerate(self._candidates):
            self._known.setdefault(content.sha256, number)
        self._pairing = Pairing(
            Candidate(number, path, content.size) for number, (_, content, path) in enumerate(self._candidates)
        )
        self._targets: dict[bytes, int] = {}
        self._space = Space.SOURCE if new.document is None else Space.CONTENT

    # -- the whole -----------------------------------------------------------------------------------------------------

    def run(self, out: IO[bytes], executor: Executor, announce: Callable[[int, int], None]) -> Report:
        report = Report()
        entries: list[Entry] = []
        order = self._order()
        total = sum(self._new.contents[index].size for index in order)
        with tempfile.TemporaryFile() as spool:
            frames = _Frames(spool, self._effort)
            if self._new.document is not None:
                entries.append(Entry(len(self._new.document), hashlib.sha256(self._new.document).digest()))
                frames.add(self._code_document(self._new.document))
                frames.end()
            first = len(entries)
            for position, index in enumerate(order):
                self._targets[self._new.contents[index].sha256] = first + position
            done = 0
            for index, coded in self._coded(order, first, executor):
                content = self._new.contents[index]
                named = self._new.document is None
                entries.append(Entry(content.size, content.sha256) if named else Entry(content.size, None, index))
                frames.add(coded)
                report.lines.append(self._line(index, coded))
                done += content.size
                announce(done, total)
            frames.end()
            header = self._header(entries, frames)
            head = encode_header(header)
            out.write(head)
            spool.seek(0)
            shutil.copyfileobj(spool, out, 1 << 20)
            report.size = len(head) + spool.tell()
        report.output, report.sources = header.output, len(header.sources)
        return report

    def _header(self, entries: list[Entry], frames: _Frames) -> Header:
        if self._new.document is None:
            sources = [Entry(content.size, content.sha256) for _, content, _ in self._candidates]
        else:
            documents = [tree.document or b"" for tree in self._old]
            sources = [Entry(len(document), hashlib.sha256(document).digest()) for document in documents]
        return Header(
            root=Root.FILE if self._new.document is None else Root.TREE,
            memory=2 * FRAME_RAW + 3 * max(entry.size for entry in entries),
            transforms=tuple(frames.transforms),
            sources=tuple(sources),
            targets=tuple(entries),
            frames=tuple(frames.infos),
        )

    def _order(self) -> list[int]:
        """Targets: what is not in an old tree; like with like, containers of other files last."""
        if self._new.document is None:
            return [0]
        wanted: dict[bytes, int] = {}
        for index, content in enumerate(self._new.contents):
            if content.sha256 not in self._known:
                wanted.setdefault(content.sha256, index)
        return sorted(wanted.values(), key=lambda index: _sort_key(self._new.paths[index]))

    def _coded(self, order: list[int], first: int, executor: Executor) -> Iterator[tuple[int, Coded]]:
        waiting: deque[tuple[int, Future[Coded]]] = deque()
        for position, index in enumerate(order):
            waiting.append((index, executor.submit(self._code_target, index, first + position)))
            if len(waiting) >= _AHEAD:
                number, future = waiting.popleft()
                yield number, future.result()
        for number, future in waiting:
            yield number, future.result()

    def _line(self, index: int, coded: Coded) -> Line:
        ref = _first_ref(coded.op)
        source = ""
        if ref and ref.space is self._space:
            source = self._candidates[ref.number][2]
        method = type(coded.op).__name__.lower()
        if isinstance(coded.op, Repacked):
            method = coded.op.transform.name
        return Line(self._new.paths[index], self._new.contents[index].size, method, source, coded.weight)

    # -- one file ------------------------------------------------------------------------------------------------------

    def _code_document(self, document: bytes) -> Coded:
        choices = [_whole(document)]
        for number, tree in enumerate(self._old):
            choices.append(self._patch(tree.document or b"", document, Ref(Space.SOURCE, number)))
        return min(choices, key=lambda coded: coded.weight)

    def _code_target(self, index: int, number: int) -> Coded:
        content, path = self._new.contents[index], self._new.paths[index]
        if content.sha256 in self._known:
            return Coded(Copy(Ref(self._space, self._known[content.sha256])), weight=8)
        found = self._pairing.find(path, content.size)
        if found is None and self._new.document is None and self._candidates:
            found = Candidate(0, path, content.size)  # two plain files are a pair, whatever their names
        pair = None
        if found:
            tree, old, _ = self._candidates[found.number]
            pair = (tree.bytes_of.open(old), Ref(self._space, found.number))
        return self._code(self._new.bytes_of.open(content), pair, number, 0)

    def _code(self, data: Buffer, pair: tuple[Buffer, Ref] | None, number: int, depth: int) -> Coded:
        """The cheapest way to `data`, which is target `number` or a stream inside it."""
        known = self._copy(data, number) if depth else None
        if known:
            return known
        best = _whole(data)
        if pair and len(data) < MAX_FILE:
            best = min(self._patch(pair[0], data, pair[1]), best, key=lambda coded: coded.weight)
        if depth < MAX_DEPTH and best.weight > WORTH_LOOKING and self._effort != "fast":
            inside = self._code_inside(data, pair, number, depth)
            if inside and inside.weight < best.weight:
                return inside
        return best

    def _copy(self, data: Buffer, number: int) -> Coded | None:
        """If these bytes are an old file or an earlier target."""
        digest = hashlib.sha256(data).digest()
        old, target = self._known.get(digest), self._targets.get(digest, number)
        if old is not None:
            return Coded(Copy(Ref(self._space, old)), weight=8)
        return Coded(Copy(Ref(Space.TARGET, target)), weight=8) if target < number else None

    def _code_inside(self, data: Buffer, pair: tuple[Buffer, Ref] | None, number: int, depth: int) -> Coded | None:
        found = registry.unpack(data, Budget(output=LARGEST_INNER))
        if found is None or not found.streams:
            return None
        transform = Transform(found.name, found.version)
        olds = self._old_streams(transform, pair, len(found.streams))
        inner = [self._code(stream, old, number, depth + 1) for stream, old in zip(found.streams, olds, strict=True)]
        return Coded(
            Repacked(
                transform,
                len(found.recipe),
                tuple(Inner(len(stream), coded.op) for stream, coded in zip(found.streams, inner, strict=True)),
            ),
            b"".join(coded.control for coded in inner),
            b"".join(coded.diff for coded in inner),
            b"".join(coded.extra for coded in inner),
            found.recipe + b"".join(coded.literal for coded in inner),
            _estimate(found.recipe) + 4 + sum(coded.weight for coded in inner),
        )

    @staticmethod
    def _old_streams(
        transform: Transform, pair: tuple[Buffer, Ref] | None, count: int
    ) -> list[tuple[Buffer, Ref] | None]:
        """What to compare each inner stream with: the stream at the same place of the old file, if it has as many."""
        nothing: list[tuple[Buffer, Ref] | None] = [None] * count
        if pair is None:
            return nothing
        data, ref = pair
        try:
            streams = reveal(transform.name, transform.version, data, LARGEST_INNER)
        except FormatError:
            return nothing
        if len(streams) != count:
            return nothing
        return [(stream, Ref(ref.space, ref.number, (*ref.path, (transform, at)))) for at, stream in enumerate(streams)]

    def _patch(self, old: Buffer, new: Buffer, ref: Ref) -> Coded:
        patch = make_patch(old, new, self._effort)
        op = Patched(ref, patch.transform, len(patch.control), len(patch.diff), len(patch.extra))
        weight = _estimate(patch.control) + _estimate(patch.diff) + _estimate(patch.extra) + 12
        return Coded(op, patch.control, patch.diff, patch.extra, b"", weight)


class _Frames:
    """Collects coded files and writes a frame whenever the streams are large enough."""

    def __init__(self, spool: IO[bytes], effort: str) -> None:
        self.infos: list[FrameInfo] = []
        self.transforms: dict[Transform, int] = {}
        self._spool = spool
        self._effort = effort
        self._start()

    def _start(self) -> None:
        self._ops = bytearray()
        self._streams = [bytearray() for _ in range(4)]
        self._count = 0

    def add(self, coded: Coded) -> None:
        encode_op(self._ops, coded.op, self.transforms)
        parts = (coded.control, coded.diff, coded.extra, coded.literal)
        for stream, part in zip(self._streams, parts, strict=True):
            stream += part
        self._count += 1
        if sum(len(stream) for stream in self._streams) >= FRAME_RAW:
            self.end()

    def end(self) -> None:
        if not self._count:
            return
        streams = coding.Streams(bytes(self._ops), *(bytes(stream) for stream in self._streams))
        stored = coding.pack(streams, self._effort)
        raw = sum(len(part) for part in streams.parts())
        self.infos.append(FrameInfo(len(stored), raw, self._count, hashlib.sha256(stored).digest()))
        self._spool.write(stored)
        self._start()


def _whole(data: Buffer) -> Coded:
    return Coded(Whole(), literal=bytes(data), weight=_estimate(data) + 1)


def _estimate(data: Buffer) -> int:
    """Bytes that this will cost, roughly; quick rather than right."""
    return len(zstd.compress(data, 1))


def _first_ref(op: Op) -> Ref | None:
    if isinstance(op, Copy | Patched):
        return op.ref
    if isinstance(op, Repacked):
        return next((ref for inner in op.streams if (ref := _first_ref(inner.op))), None)
    return None


def _sort_key(path: str) -> tuple[bool, str, str]:
    """Containers of other files last, so that they can copy from them; the rest by kind of file, then by path."""
    name = path.rpartition("/")[2]
    return name.startswith(_LATE), name.partition(".")[2][-8:], path
