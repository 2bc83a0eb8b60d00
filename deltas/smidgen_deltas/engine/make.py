"""Making a delta: settle the order, code each file (`engine.choose`), group the streams in frames, write.

Results depend on the input and the settings, not on threads: each file is coded by itself, written in one order.
Memory: the frames in work (`engine.frames`), the files that wait to be written (at most AHEAD, and about AHEAD_BYTES),
and for each worker the two files it compares, their index (at most 4 * patch.POSITIONS bytes and a table of 64 MiB)
and streams. Encoders share a gate (`engine.gate`), so that only a few large ones run at a time.
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

from smidgen_deltas.engine.choose import Chooser, Settings
from smidgen_deltas.engine.describe import reason, refs_of
from smidgen_deltas.engine.frames import Coded, FrameWriter
from smidgen_deltas.engine.profile import FULL, Profile
from smidgen_deltas.engine.recipes import Book, Forgetful
from smidgen_deltas.engine.sources import Tree
from smidgen_deltas.native.delta import Entry, Header, Root, encode_header
from smidgen_deltas.native.delta_ops import Part, TargetOp

AHEAD: Final = 16  # files in work or waiting to be written
AHEAD_BYTES: Final = 64 << 20  # of these, as far as they can be guessed
_LATE: Final = ("initrd", "initramfs", "vmlinuz", "linux-image")  # containers of other files

Announce = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Line:
    """What was done for one target, for people and reports. weight: estimate of the bytes it costs; why: in words."""

    path: str
    size: int
    method: str
    source: str
    weight: int
    why: str


@dataclass(slots=True)
class Report:
    """The outcome of `make`.

    Args:
        size: bytes of the delta; output: of all targets.
        seconds: of one core, that encoding again takes on the device, about.
    """

    size: int = 0
    output: int = 0
    seconds: float = 0.0
    sources: int = 0
    lines: list[Line] = field(default_factory=list)


def _silent(done: int, total: int) -> None:
    """Announce nothing."""


def make(
    old: Sequence[Tree],
    new: Tree,
    out: IO[bytes],
    effort: str,
    executor: Executor,
    announce: Announce = _silent,
    *,
    profile: Profile = FULL,
    book: Book | None = None,
) -> Report:
    """Write a delta from all of `old` to `new`.

    Args:
        effort: "fast", "default" or "best".
        announce: called with bytes done and bytes in all.
        profile: what devices may be asked to do.
        book: recipes of files that were taken apart before; more are noted.
    Raises what the contents raise when they are opened; FormatError never.
    """
    return _Maker(old, new, Settings(effort, profile, book or Forgetful())).run(out, executor, announce)


class _Maker:
    def __init__(self, old: Sequence[Tree], new: Tree, settings: Settings) -> None:
        self._new = new
        self._settings = settings
        self._old = [tree for tree in old if (tree.document is None) == (new.document is None)]
        self._order = self._settle_order()
        self._first = 0 if new.document is None else 1
        self._gate = settings.gate()
        self._chooser = Chooser(self._old, new, self._order, self._first, settings, self._gate)

    def run(self, out: IO[bytes], executor: Executor, announce: Announce) -> Report:
        report = Report()
        total = sum(self._new.contents[index].size for index in self._order)
        done = 0
        with tempfile.TemporaryFile() as spool:
            frames = FrameWriter(spool, self._settings.effort, self._settings.profile, executor, self._gate)
            if self._new.document is not None:
                frames.add(self._chooser.document(self._new.document))
                frames.end()
            for index, parts in self._coded(executor):
                content = self._new.contents[index]
                left, weight, ops = content.size, 0, []
                for coded in parts:
                    left -= coded.op.size if isinstance(coded.op, Part) else left
                    frames.add(coded, complete=not left)
                    weight += coded.weight
                    ops.append(coded.op)
                report.lines.append(self._line(index, ops, weight))
                done += content.size
                announce(done, total)
            frames.finish()
            header = self._header(frames)
            head = encode_header(header)
            out.write(head)
            spool.seek(0)
            shutil.copyfileobj(spool, out, 1 << 20)
            report.size = len(head) + spool.tell()
        report.output, report.sources, report.seconds = header.output, len(header.sources), frames.seconds
        return report

    def _header(self, frames: FrameWriter) -> Header:
        needs = frames.all_needs()
        return Header(
            root=Root.FILE if self._new.document is None else Root.TREE,
            memory=needs.memory,
            scratch=needs.scratch,
            cpu=needs.cpu,
            transforms=tuple(frames.transforms),
            sources=tuple(self._sources()),
            targets=tuple(self._targets()),
            frames=tuple(frames.infos),
        )

    def _sources(self) -> Iterator[Entry]:
        for tree in self._old:
            if tree.document is not None:
                yield Entry(len(tree.document), hashlib.sha256(tree.document).digest())
                continue
            for content in tree.contents:
                yield Entry(content.size, content.sha256)

    def _targets(self) -> Iterator[Entry]:
        if self._new.document is None:
            yield Entry(self._new.contents[0].size, self._new.contents[0].sha256)
            return
        yield Entry(len(self._new.document), hashlib.sha256(self._new.document).digest())
        for index in self._order:
            yield Entry(self._new.contents[index].size, None, index)

    def _settle_order(self) -> list[int]:
        """Targets: what is not in an old tree; like with like, containers of other files last."""
        if self._new.document is None:
            return [0]
        known = {content.sha256 for tree in self._old for content in tree.contents}
        wanted: dict[bytes, int] = {}
        for index, content in enumerate(self._new.contents):
            if content.sha256 not in known:
                wanted.setdefault(content.sha256, index)
        return sorted(wanted.values(), key=lambda index: _sort_key(self._new.paths[index]))

    def _coded(self, executor: Executor) -> Iterator[tuple[int, Iterator[Coded]]]:
        """What was chosen for each target, in order; several are in work at a time."""
        waiting: deque[tuple[int, Future[Coded] | None]] = deque()
        size = 0
        for position, index in enumerate(self._order):
            large = self._chooser.is_large(index)
            number = self._first + position
            cost = self._chooser.cost(index)
            while waiting and (len(waiting) >= AHEAD or size + cost > AHEAD_BYTES):
                size -= self._chooser.cost(waiting[0][0])
                yield self._result(*waiting.popleft())
            waiting.append((index, None if large else executor.submit(self._chooser.target, index, number)))
            size += cost
        for entry in waiting:
            yield self._result(*entry)

    def _result(self, index: int, future: Future[Coded] | None) -> tuple[int, Iterator[Coded]]:
        coded = future.result() if future else None
        return index, iter((coded,)) if coded and not self._chooser.is_heavy(coded) else self._chooser.large(index)

    def _line(self, index: int, ops: Sequence[TargetOp], weight: int) -> Line:
        path, size = self._new.paths[index], self._new.contents[index].size
        method, why = reason(ops)
        refs = dict.fromkeys(ref for op in ops for ref in refs_of(op))
        names = list(dict.fromkeys(self._chooser.source_path(ref) for ref in refs))
        source = names[0] if names else ""
        if len(names) > 1:
            source += f" and {len(names) - 1} more"
        return Line(path, size, method, source, weight, why)


def _sort_key(path: str) -> tuple[bool, str, str]:
    """Containers of other files last, so that they can copy from them; the rest by kind of file, then by path."""
    name = path.rpartition("/")[2]
    return name.startswith(_LATE), name.partition(".")[2][-8:], path
