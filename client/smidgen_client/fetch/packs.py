"""Fetching planned ranges with several connections and turning them into contents.

Each worker fetches, checks, decodes and stores; while one waits for the network another works, so download, decoding
and writing overlap. Work is handed out range by range once the host has shown that it serves ranges; before that, and
for hosts that do not, pack by pack, so that no pack is read twice.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final

from smidgen_client.fetch.frames import FrameCutter
from smidgen_client.fetch.gate import MemoryGate
from smidgen_client.fetch.sink import ContentSink
from smidgen_client.plan.ranges import PackJob
from smidgen_client.transport.client import Transport
from smidgen_deltas.errors import FormatError, IntegrityError, SmidgenError
from smidgen_deltas.native.pack import open_frame
from smidgen_deltas.native.packmap import Frame, PackMap

HELD: Final = 20 << 20  # bytes of frames, stored and decoded, that all workers hold together
Advance = Callable[[int], None]


class FrameFetcher:
    """Fetches the ranges of a plan. Frames that are not what the map says are collected in `bad`, with the reason."""

    def __init__(
        self,
        transport: Transport,
        packmap: PackMap,
        sink: ContentSink,
        *,
        connections: int,
        fresh: bool,
        advance: Advance,
    ) -> None:
        self._transport, self._packmap, self._sink = transport, packmap, sink
        self._connections, self._fresh, self._advance = connections, fresh, advance
        self._gate = MemoryGate(HELD)
        self._queue: deque[PackJob] = deque()
        self._lock = threading.Lock()
        self._stopped = False
        self.bad: list[tuple[Frame, SmidgenError]] = []

    def run(self, jobs: tuple[PackJob, ...]) -> None:
        """Fetch everything; raises the first error that is not about a single frame."""
        self._queue = deque(jobs)
        count = min(self._connections, sum(len(job.ranges) for job in jobs))
        if not count:
            return
        with ThreadPoolExecutor(count, thread_name_prefix="fetch") as pool:
            running = [pool.submit(self._work) for _ in range(count)]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
                for one in done:
                    one.result()
            finally:
                self._stopped = True

    def _work(self) -> None:
        while not self._stopped and (job := self._take()) is not None:
            self._fetch(job)

    def _take(self) -> PackJob | None:
        """The next piece of work: one range where ranges are known to work, else a whole pack's."""
        with self._lock:
            if not self._queue:
                return None
            job = self._queue.popleft()
            if self._transport.ranges_work and len(job.ranges) > 1:
                self._queue.appendleft(PackJob(job.pack, job.ranges[1:]))
                return PackJob(job.pack, job.ranges[:1])
            return job

    def _fetch(self, job: PackJob) -> None:
        pack = self._packmap.packs[job.pack]
        cutters = [FrameCutter(one.span.start, one.frames) for one in job.ranges]
        spans = [one.span for one in job.ranges]
        for number, block in self._transport.spans(pack.digest, pack.size, spans, fresh=self._fresh):
            for frame, stored in cutters[number].feed(block):
                self._open(frame, stored)
            self._advance(len(block))
            if self._stopped:
                return

    def _open(self, frame: Frame, stored: bytes | bytearray | memoryview) -> None:
        if not self._sink.wants_frame(frame):
            return
        try:
            with self._gate.hold(frame.size + frame.raw_size):
                self._sink.deliver(frame, open_frame(frame, memoryview(stored)))
        except (IntegrityError, FormatError) as error:
            with self._lock:
                self.bad.append((frame, error))
