"""How many threads rebuild the files of a delta, and with how much memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.errors import LimitExceeded

MOST: Final = 4  # more wait for the disk


def cores() -> int:
    """How many threads this process can use, at most MOST."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


@dataclass(frozen=True, slots=True)
class Threads:
    """What applying a delta may take.

    Args:
        count: threads.
        memory: bytes altogether; None for what the delta declares, for each thread.
    """

    count: int
    memory: int | None = None

    @contextmanager
    def rebuild(self, applier: Applier) -> Iterator[None]:
        """Within this, targets are rebuilt by several threads as far as memory allows; all are finished at its end.

        Raises LimitExceeded when one thread needs more memory than is allowed, and what rebuilding raises.
        """
        declared = applier.memory
        limit = self.count * declared if self.memory is None else min(self.memory, self.count * declared)
        if limit < declared:
            raise LimitExceeded("the delta needs more memory than is allowed", needs=declared, limit=limit)
        if self.count == 1 or limit == declared:
            yield
            return
        with ThreadPoolExecutor(self.count, thread_name_prefix="rebuild") as executor:
            with applier.threads(executor, limit):
                yield
