"""Making a static delta, without fallback objects: everything a client lacks is inside.

1. New objects are those of the target commit that the source commit lacks.
2. They are dealt out to parts: metadata and what compresses well, like with like, at most GOAL bytes each; what is
   compressed already in parts of its own, which cost no time. Large containers come last in theirs, since they often
   hold what came before.
3. Each file is coded by itself (`choose`), several at a time, and written into its part in order; full parts are
   compressed meanwhile.

The result depends on the two commits only, not on threads. `usize` of a part is at least its payload, which the bound
of libostree 2026.3 asks for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_deltas.ostree.deltaname import SUPERBLOCK, DeltaName
from smidgen_deltas.ostree.objects import Commit, ObjectName, ObjectType
from smidgen_deltas.ostree.static.build import PartBuilder
from smidgen_deltas.ostree.static.choose import Chooser
from smidgen_deltas.ostree.static.commits import FileFacts, ObjectReader, file_facts, visit
from smidgen_deltas.ostree.static.compress import PackedPart, pack
from smidgen_deltas.ostree.static.plan import PartPlan, plan_parts
from smidgen_deltas.ostree.static.steps import Step
from smidgen_deltas.ostree.static.superblock import PartEntry, Superblock

AHEAD: Final = 8  # files in work or waiting to be written
AHEAD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class MadeDelta:
    """A delta: its superblock, and its parts in temporary files that are gone after `close`."""

    superblock: Superblock
    parts: tuple[PackedPart, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return len(self.superblock.encode()) + sum(part.size for part in self.parts)

    def single_file(self) -> bytes:
        """The form that is carried by hand, everything in one."""
        return self.superblock.with_inline(part.read() for part in self.parts).encode()

    def write_folder(self, folder: Path) -> None:
        """`0`, `1`… and last `superblock` in a folder that exists."""
        for number, part in enumerate(self.parts):
            (folder / str(number)).write_bytes(part.read())
        (folder / SUPERBLOCK).write_bytes(self.superblock.encode())

    def close(self) -> None:
        for part in self.parts:
            part.file.close()


def make_delta(
    reader: ObjectReader, source: bytes | None, target: bytes, executor: Executor, commitmeta: bytes | None = None
) -> MadeDelta:
    """A delta between two commits that `reader` has.

    Args:
        source: raw checksum, or None for a delta from nothing.
        executor: threads; files are coded and parts are compressed there.
        commitmeta: detached metadata of the target, for clients that verify commits.
    Memory: for each thread two files, their index and about 200 MiB for compressing.
    Raises what the reader raises; FormatError for damaged objects.
    """
    return _Maker(reader, source, target, executor).run(commitmeta)


class _Maker:
    def __init__(self, reader: ObjectReader, source: bytes | None, target: bytes, executor: Executor) -> None:
        self._reader, self._executor = reader, executor
        self._name = DeltaName(source, target)
        old = visit(reader, source)
        new = visit(reader, target)
        known = {one.name for one in old}
        self._new = [one for one in new if one.name not in known and one.name.type is not ObjectType.COMMIT]
        kept = frozenset(one.name.checksum for one in new if one.name in known)
        self._chooser = Chooser(reader, file_facts(reader, old), kept)

    def run(self, commitmeta: bytes | None) -> MadeDelta:
        metadata = [one for one in self._new if one.data is not None]
        plans = plan_parts(metadata, file_facts(self._reader, self._new), self._reader)
        packing = [self._executor.submit(_pack, builder, plan) for plan, builder in self._built(plans)]
        made = [future.result() for future in packing]
        commit = self._reader.metadata(ObjectName(ObjectType.COMMIT, self._name.target))
        superblock = Superblock(
            self._name, Commit.decode(commit).timestamp, commit, tuple(entry for entry, _ in made)
        ).with_commitmeta(commitmeta)
        return MadeDelta(superblock, tuple(part for _, part in made))

    def _built(self, plans: Sequence[PartPlan]) -> Iterator[tuple[PartPlan, PartBuilder]]:
        steps = self._chosen([file for plan in plans for file in plan.files])
        for plan in plans:
            builder = PartBuilder()
            for one in plan.metadata:
                builder.add_metadata(one.name, one.data or b"")
            for file in plan.files:
                if file.header.is_symlink:
                    builder.add_symlink(file.checksum, file.header)
                else:
                    builder.add_file(file.checksum, file.header, file.size, next(steps))
            yield plan, builder

    def _chosen(self, files: Sequence[FileFacts]) -> Iterator[tuple[Step, ...]]:
        """Steps to each regular file, in order; several are in work at a time."""
        waiting: deque[tuple[int, Future[tuple[Step, ...]]]] = deque()
        size = 0
        for file in files:
            if file.header.is_symlink:
                continue
            while waiting and (len(waiting) >= AHEAD or size + file.size > AHEAD_BYTES):
                done, future = waiting.popleft()
                size -= done
                yield future.result()
            waiting.append((file.size, self._executor.submit(self._chooser.choose, file)))
            size += file.size
        for _, future in waiting:
            yield future.result()


def _pack(builder: PartBuilder, plan: PartPlan) -> tuple[PartEntry, PackedPart]:
    part = pack(builder.pieces(), builder.payload, stored=plan.stored)
    entry = PartEntry(part.sha256, part.size, max(builder.usize, builder.payload), tuple(builder.objects))
    builder.close()
    return entry, part
