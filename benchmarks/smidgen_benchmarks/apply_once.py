"""`python -m smidgen_benchmarks.apply_once DELTA OLD OUTPUT JOBS`: applies a delta and prints, as JSON, what that took.

All is measured inside of the one process that applies, as `smidgen delta apply` does it. The encoders' part is what the
CPU spent while one of them was at work on streams that lay ready: what the library alone needs for these files.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

from smidgen_client.deltas.inputs import open_input
from smidgen_client.deltas.outputs import apply_file
from smidgen_client.deltas.threads import Threads
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import CpuClass, Data


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying took, once the program was loaded.

    Args:
        output: bytes of what was written.
        wall, cpu: seconds.
        opening: CPU seconds for reading and hashing the old side.
        encoding: CPU seconds of the encoders. Only with one job.
        idle: resident bytes when all was imported; peak: the most that were resident.
    """

    output: int
    wall: float
    cpu: float
    opening: float
    encoding: float
    idle: int
    peak: int


class Encoders:
    """Stands before the registry and adds up what encoders take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._repack = registry.repack

    def repack(self, name: str, version: int, recipe: bytes, streams: Sequence[Data], *, limit: int) -> Iterator[bytes]:
        blocks = self._repack(name, version, recipe, streams, limit=limit)
        return blocks if registry.cost(name, version, recipe).cpu is CpuClass.COPY else self._timed(blocks)

    def _timed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            started = time.process_time()
            block = next(blocks, None)
            self.seconds += time.process_time() - started
            if block is None:
                return
            yield block


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def apply_once(delta: Path, old: Path, output: Path, jobs: int) -> Applied:
    """Apply; `output` must be new. Raises what applying raises."""
    idle = resident("VmRSS")
    started, begun = time.perf_counter(), time.process_time()
    encoders = Encoders()
    with open_input(old) as opened, patch.object(registry, "repack", encoders.repack):
        opening = time.process_time() - begun
        size = apply_file(delta, [opened], output, Threads(jobs))
    wall = time.perf_counter() - started
    return Applied(size, wall, time.process_time() - begun, opening, encoders.seconds, idle, resident("VmHWM"))


if __name__ == "__main__":
    words = sys.argv[1:]
    print(json.dumps(asdict(apply_once(Path(words[0]), Path(words[1]), Path(words[2]), int(words[3])))))
