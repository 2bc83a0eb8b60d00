"""Making a tar-diff.

1. The old tars are put one on the other; what can be opened afterwards are the sources.
2. Files of the new tar are coded by themselves (`choose`), several at a time; what is between them is written as it is.
3. Everything becomes one zstd frame, in the order of the tar: there is no other.

The result depends on the tars only, not on threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import BinaryIO, Final

from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.tardiff.bodies import Body, bodies
from smidgen_deltas.tardiff.choose import Chooser
from smidgen_deltas.tardiff.old_tree import OldTree, Usable, any_path
from smidgen_deltas.tardiff.operations import Operation
from smidgen_deltas.tardiff.steps import Fresh, Step, Writer
from smidgen_deltas.tardiff.stream import LEVEL, write_operations

AHEAD: Final = 32  # files in work or waiting to be written
AHEAD_BYTES: Final = 64 << 20


def make_delta(
    old: Sequence[Buffer],
    new: Buffer,
    file: BinaryIO,
    executor: Executor,
    *,
    usable: Usable = any_path,
    level: int = LEVEL,
    workers: int = 2,
) -> int:
    """Write the delta between uncompressed tars; returns its size in bytes.

    Args:
        old: layers in the order of extraction, lowest first; mapped, not read.
        executor: threads that files are coded in.
        usable: which old paths the applier can open.
        level, workers: of the compressor.
    Memory: for each thread its files and their index; for the compressor up to 700 MB, by level.
    Raises TarCorrupt, TarAmbiguous, TarUnsupported, TarLimit.
    """
    tree = OldTree()
    for tar in old:
        tree.add(tar)
    targets = bodies(new)
    chooser = Chooser(tree.files(usable), targets, Pages((*old, new)))
    return write_operations(file, _operations(memoryview(new), targets, chooser, executor), level, workers=workers)


def _operations(new: memoryview, targets: Sequence[Body], chooser: Chooser, executor: Executor) -> Iterator[Operation]:
    writer = Writer()
    done = 0
    for body, steps in _chosen(targets, chooser, executor):
        yield from writer.operations((Fresh(new[done : body.start]), *steps))
        done = body.start + len(body.data)
    yield from writer.operations((Fresh(new[done:]),))
    yield from writer.flush()


def _chosen(targets: Sequence[Body], chooser: Chooser, executor: Executor) -> Iterator[tuple[Body, tuple[Step, ...]]]:
    """Steps to each file, in order; several are in work at a time."""
    waiting: deque[tuple[Body, Future[tuple[Step, ...]]]] = deque()
    size = 0
    for body in targets:
        while waiting and (len(waiting) >= AHEAD or size + len(body.data) > AHEAD_BYTES):
            done, future = waiting.popleft()
            size -= len(done.data)
            yield done, future.result()
        waiting.append((body, executor.submit(chooser.choose, body)))
        size += len(body.data)
    for done, future in waiting:
        yield done, future.result()
