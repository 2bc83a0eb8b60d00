"""Making a static delta, without fallback objects: everything a client lacks is inside.

1. New objects are those of the target commit that the source commit lacks.
2. They are dealt out to parts: metadata and what compresses well, like with like, at most GOAL bytes each; what is
   compressed already in parts of its own, which cost no time. Large containers come last in theirs, since they often
   hold what came before.
3. Each file is coded by itself (`choose`), several at a time, and written into its part in order; full parts are
   compressed meanwhile.

The result depends on the two commits only, not on threads. A part is cut before its payload becomes longer than every
released client takes, and its `usize` is at least its payload: `limits` says why.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from smidgen_deltas.ostree.deltaname import SUPERBLOCK, DeltaName
from smidgen_deltas.ostree.objects import Commit, ObjectName, ObjectType
from smidgen_deltas.ostree.static.build import PartBuilder
from smidgen_deltas.ostree.static.choose import Chooser
from smidgen_deltas.ostree.static.commits import FileFacts, ObjectReader, file_facts, visit
from smidgen_deltas.ostree.static.compress import PackedPart, pack
from smidgen_deltas.ostree.static.limits import MAX_PAYLOAD, PartTooLarge, check_payload, check_superblock
from smidgen_deltas.ostree.static.plan import PartPlan, plan_parts
from smidgen_deltas.ostree.static.steps import Step, drawn
from smidgen_deltas.ostree.static.superblock import PartEntry, Superblock

AHEAD: Final = 8  # files in work or waiting to be written
AHEAD_BYTES: Final = 64 << 20
ROOM: Final = 16  # one part in this many of the longest payload is left for operations and tables


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

    def superblock_file(self) -> bytes:
        """The superblock as clients fetch it. Raises LimitExceeded when some would not."""
        data = self.superblock.encode()
        check_superblock(len(data))
        return data

    def write_folder(self, folder: Path) -> None:
        """`0`, `1`… and last `superblock` in a folder that exists. Raises as `superblock_file`."""
        superblock = self.superblock_file()
        for number, part in enumerate(self.parts):
            (folder / str(number)).write_bytes(part.read())
        (folder / SUPERBLOCK).write_bytes(superblock)

    def close(self) -> None:
        for part in self.parts:
            part.file.close()


def make_delta(
    reader: ObjectReader,
    source: bytes | None,
    target: bytes,
    executor: Executor,
    commitmeta: bytes | None = None,
    longest: int = MAX_PAYLOAD,
) -> MadeDelta:
    """A delta between two commits that `reader` has.

    Args:
        source: raw checksum, or None for a delta from nothing.
        executor: threads; files are coded and parts are compressed there.
        commitmeta: detached metadata of the target, for clients that verify commits.
        longest: most bytes of a part's payload.
    Memory: for each thread two files, their index and about 200 MiB for compressing.
    Raises what the reader raises; FormatError for damaged objects; PartTooLarge for a file that no part can hold.
    """
    return _Maker(reader, source, target, executor, longest).run(commitmeta)


class _Maker:
    def __init__(
        self, reader: ObjectReader, source: bytes | None, target: bytes, executor: Executor, longest: int
    ) -> None:
        self._reader, self._executor, self._longest = reader, executor, longest
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
        packing = [
            self._executor.submit(_pack, builder, self._longest, stored=plan.stored)
            for plan, builder in self._built(plans)
        ]
        made = [future.result() for future in packing]
        commit = self._reader.metadata(ObjectName(ObjectType.COMMIT, self._name.target))
        superblock = Superblock(
            self._name, Commit.decode(commit).timestamp, commit, tuple(entry for entry, _ in made)
        ).with_commitmeta(commitmeta)
        return MadeDelta(superblock, tuple(part for _, part in made))

    def _built(self, plans: Sequence[PartPlan]) -> Iterator[tuple[PartPlan, PartBuilder]]:
        """Parts as planned, some cut in two or more where patches make them longer than a part may be."""
        steps = self._chosen([file for plan in plans for file in plan.files])
        full = self._longest - self._longest // ROOM
        for plan in plans:
            builder = PartBuilder()
            for size, add in _additions(plan, steps):
                if builder.objects and builder.payload + size > full:
                    yield plan, builder
                    builder = PartBuilder()
                add(builder)
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


def _additions(
    plan: PartPlan, steps: Iterator[tuple[Step, ...]]
) -> Iterator[tuple[int, Callable[[PartBuilder], None]]]:
    """What adds each object of a plan to a part, and how many bytes of the part it takes at most."""
    for one in plan.metadata:
        data = one.data or b""
        yield len(data), partial(PartBuilder.add_metadata, name=one.name, data=data)
    for file in plan.files:
        if file.header.is_symlink:
            yield len(file.header.target), partial(PartBuilder.add_symlink, checksum=file.checksum, header=file.header)
            continue
        chosen = next(steps)
        yield (
            drawn(chosen),
            partial(PartBuilder.add_file, checksum=file.checksum, header=file.header, size=file.size, steps=chosen),
        )


def _pack(builder: PartBuilder, longest: int, *, stored: bool) -> tuple[PartEntry, PackedPart]:
    with contextlib.closing(builder):
        _check_length(builder.payload, builder, longest)
        part = pack(builder.pieces(), builder.payload, stored=stored)
        _check_length(part.payload, builder, longest)
        entry = PartEntry(part.sha256, part.size, max(builder.usize, part.payload), tuple(builder.objects))
        check_payload(part.payload, entry.usize, len(entry.objects))
        return entry, part


def _check_length(payload: int, builder: PartBuilder, longest: int) -> None:
    if payload > longest:
        raise PartTooLarge(
            "an object does not fit into a part", object=str(builder.objects[-1]), payload=payload, limit=longest
        )
