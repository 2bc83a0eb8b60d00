"""Making one delta somewhere: the function that an Executor runs, on this machine or on another.

It starts a process of its own for the work, with bounded memory and time, and watches it: what the work does to that
process, the executor survives, and it can be killed. While it runs, the row of the build is asked about twice a second;
once the lease is not the order's any more (cancelled, taken over, server stopped) the process is killed. If whoever
watches dies, the process sees its standard input end and goes too.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import IO, Any, Final

from smidgen_server.index import jobs
from smidgen_server.index.base import Index, IndexUnavailable
from smidgen_server.settings import Settings

LOOK_SECONDS: Final = 0.5
LAST_WORDS: Final = 16 << 10
MAX_LINE: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """A build. settings: as JSON values; sources, target: row ids of revisions; see index.deltas.DeltaRow."""

    settings: dict[str, Any]
    number: int
    lease: str
    sources: tuple[int, ...]
    target: int
    format: str
    keep_share: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a build: a delta (`files`), or why it is `useless`, or an `error`, or nothing (the lease was lost).

    Args:
        files: name, digest and size of what is in the blob store now.
        cost: bytes of the full update.
        raw_size, memory, scratch, cpu, work, header, features: see delta_formats.Facts; header in hex.
    """

    files: tuple[tuple[str, str, int], ...] = ()
    size: int = 0
    cost: int = 0
    raw_size: int = 0
    memory: int = 0
    scratch: int = 0
    cpu: int = 0
    work: int = 0
    header: str | None = None
    features: tuple[str, ...] = ()
    useless: str | None = None
    error: str | None = None


def build(order: Order) -> Outcome:
    """Make a delta. Never raises for what the work does."""
    settings = Settings.model_validate(order.settings)
    index = Index(settings.database_url, pool_size=1)
    folder = str(settings.data) if settings.data.is_dir() else tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(
                [sys.executable, "-m", "smidgen_server.delta_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env={**os.environ, "TMPDIR": folder},
            )
            with process:
                try:
                    outcome = _Watch(process, order, index, settings.deltas.build_seconds).listen()
                finally:
                    process.kill()
            return outcome or Outcome(error=_last_words(words) or f"it ended with status {process.returncode}")
    finally:
        index.close()


def _last_words(words: IO[bytes]) -> str:
    """The last line that a process wrote to standard error."""
    words.seek(max(words.seek(0, os.SEEK_END) - LAST_WORDS, 0))
    return words.read().decode(errors="replace").strip().rpartition("\n")[2]


class _Watch:
    """Hands over the order and follows the process."""

    def __init__(self, process: subprocess.Popen[bytes], order: Order, index: Index, seconds: int) -> None:
        self._process, self._order, self._index = process, order, index
        self._end, self._seconds = time.monotonic() + seconds, seconds
        self._looked = 0.0
        self._done = self._total = 0

    def listen(self) -> Outcome | None:
        """The last line; an empty outcome when the lease is lost; None when the process ended without a last line."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps(asdict(self._order)).encode() + b"\n")
            stdin.flush()  # and stays open
        except BrokenPipeError:
            return None
        pending = b""
        while self._wanted():
            if time.monotonic() > self._end:
                return Outcome(error=f"it took more than {self._seconds} s")
            if not select.select([stdout], [], [], LOOK_SECONDS)[0]:
                continue
            block = os.read(stdout.fileno(), 1 << 16)
            *lines, pending = (pending + block).split(b"\n")
            for said in map(json.loads, lines):
                if "done" not in said:
                    return _outcome(said)
                self._done, self._total = said["done"], said["total"]
            if not block or len(pending) > MAX_LINE:
                return None
        return Outcome()

    def _wanted(self) -> bool:
        """Note progress and look whether the lease still holds. A database that is away for a while is waited for."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return True
        self._looked = now
        try:
            with self._index.session() as session:
                return jobs.report(session, self._order.number, self._order.lease, self._done, self._total)
        except IndexUnavailable:
            return True


def _outcome(said: dict[str, Any]) -> Outcome:
    files = tuple((name, digest, size) for name, digest, size in said.get("files", ()))
    return Outcome(**said | {"files": files, "features": tuple(said.get("features", ()))})
