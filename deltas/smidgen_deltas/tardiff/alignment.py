"""Which stretches of a new file resemble which stretches of some old ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from smidgen_deltas.engine.aligned import aligned
from smidgen_deltas.tardiff.steps import Block, Source

LARGEST: Final = 512 << 20  # bytes of sources that are compared at once


def alignment(sources: Sequence[Source], new: memoryview) -> Iterator[Block]:
    """Blocks of `new` that resemble the sources, ascending in new, not overlapping there.

    Memory: an index of about eight times the sources, at most some hundred MB; sources above LARGEST are left out.
    """
    starts = [0, *accumulate(len(source.data) for source in sources)]
    if starts[-1] > LARGEST:
        return
    joined = sources[0].data if len(sources) == 1 else b"".join(source.data for source in sources)
    for at, place, length in aligned(joined, new):
        done = 0
        while done < length:  # a block may run on from one source into the next
            number = bisect_right(starts, place + done) - 1
            size = min(length - done, starts[number + 1] - place - done)
            yield Block(at + done, number, place + done - starts[number], size)
            done += size
