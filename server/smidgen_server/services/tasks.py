"""Background work of the server: rows in the index, run by a few threads, taken up again after a restart.

A handler does one kind of work and must be able to start over: whatever it has committed before is found and kept.
`progress` is how it tells how far it is; the call raises `TaskInterrupted` when the server is stopping, and the task
goes back to the queue. After kill -9, the next server on this machine sees that the owner is gone and takes its tasks
over; owners on other machines are given up after `LEASE_SECONDS` without a sign of life.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog

from smidgen_deltas.errors import SmidgenError
from smidgen_server.index import tasks as rows
from smidgen_server.index.base import Index
from smidgen_server.services.tasks_owner import gone, owner_name

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

Result = TypeVar("Result")
POLL_SECONDS: Final = 5.0  # how soon a task queued by another process is seen
REPORT_SECONDS: Final = 0.5  # progress is written at most this often

log = structlog.get_logger("smidgen.tasks")


class Progress(Protocol):
    """Tell how far a piece of work is: `done` of `total` (0: unknown), counted in `unit`."""

    def __call__(self, done: int, total: int, unit: str) -> None: ...


Handler = Callable[["Services", Mapping[str, Any], Progress], None]


class TaskInterrupted(Exception):  # noqa: N818 - a signal, not an error
    """The server is stopping, or another one took the task over: leave, keeping what is committed."""


def no_progress(done: int, total: int, unit: str) -> None:
    """For callers that nobody watches."""


class Tasks:
    """Queue and threads. `submit` and the listing work at any time, tasks run between `start` and `stop`."""

    def __init__(self, index: Index, *, workers: int = 2) -> None:
        self._index, self._workers = index, workers
        self._runners: dict[str, Callable[[Mapping[str, Any], Progress], None]] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._owner = ""

    def submit(self, kind: str, lane: str, payload: Mapping[str, Any]) -> int:
        """Queue work and return its id. Waiting work of the same kind, lane and payload is not queued twice."""
        with self._index.session() as session:
            number = rows.queued_like(session, kind, lane, dict(payload))
            if number is None:
                number = rows.add(session, kind, lane, dict(payload), now=int(time.time()))
        with self._wake:
            self._wake.notify_all()
        return number

    def find(self, number: int) -> rows.TaskRow | None:
        with self._index.read() as session:
            return rows.find(session, number)

    def listing(self, states: tuple[str, ...], before: int | None, limit: int) -> list[rows.TaskRow]:
        """Newest first."""
        with self._index.read() as session:
            return rows.listing(session, states=states, before=before, limit=limit)

    def start(self, services: Services, handlers: Mapping[str, Handler]) -> None:
        """Take over what dead owners left and begin to work; `handlers`: kind of task -> who does it."""
        self._runners = {kind: partial(handler, services) for kind, handler in handlers.items()}
        self._owner = owner_name()
        self._stopping = False
        self._adopt()
        names = [*(f"task-{number}" for number in range(self._workers)), "task-beat"]
        targets = [*([self._work] * self._workers), self._beat]
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True) for target, name in zip(targets, names, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Ask running handlers to leave, wait for them, put unfinished tasks back."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.1))
        if self._threads:
            self._try("release", self._release)
        self._threads = []

    def wait(self, number: int, timeout: float = 60.0) -> rows.TaskRow:
        """Wait until a task has ended (for commands and tests). Raises TimeoutError."""
        end = time.monotonic() + timeout
        while True:
            found = self.find(number)
            if found is not None and found.state in (rows.DONE, rows.FAILED):
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"task {number} did not end within {timeout} s")
            with self._wake:
                self._wake.wait(0.02)

    def _adopt(self) -> None:
        """Put back the tasks of owners that are gone for certain, and of those that are silent."""
        with self._index.session() as session:
            for owner in rows.owners(session):
                if gone(owner, self._owner):
                    rows.release(session, owner)
            rows.release_lapsed(session, now=int(time.time()))

    def _release(self) -> None:
        with self._index.session() as session:
            rows.release(session, self._owner)

    def _claim(self) -> rows.TaskRow | None:
        with self._index.session() as session:
            return rows.claim(session, self._owner, now=int(time.time()))

    def _work(self) -> None:
        while not self._stopping:
            claimed = self._try("claim", self._claim)
            if claimed is not None:
                self._run(claimed)
                continue
            with self._wake:
                if not self._stopping:
                    self._wake.wait(POLL_SECONDS)

    def _beat(self) -> None:
        while not self._stopping:
            with self._wake:
                self._wake.wait(POLL_SECONDS)
            if not self._stopping:
                self._try("beat", self._sign_of_life)

    def _sign_of_life(self) -> None:
        with self._index.session() as session:
            rows.beat(session, self._owner, now=int(time.time()))
            rows.release_lapsed(session, now=int(time.time()))

    def _try(self, what: str, action: Callable[[], Result]) -> Result | None:
        """The database may be away for a while; the queue outlives that."""
        try:
            return action()
        except SmidgenError as error:
            log.warning("task queue unavailable", step=what, reason=str(error))
            return None

    def _run(self, claimed: rows.TaskRow) -> None:
        started = time.monotonic()
        bound = log.bind(task=claimed.id, kind=claimed.kind, lane=claimed.lane)
        bound.info("task started")
        error: dict[str, Any] | None = None
        try:
            runner = self._runners.get(claimed.kind)
            if runner is None:
                raise SmidgenError("this server does not know this kind of task", kind=claimed.kind)
            runner(claimed.payload, _Reporter(self, claimed.id))
        except TaskInterrupted:
            bound.info("task interrupted")
            return
        except SmidgenError as failure:
            error = describe(failure)
        except Exception as failure:  # noqa: BLE001 - the edge of the worker: a task must not take the thread with it
            bound.exception("task broke")
            error = {"code": "UNKNOWN", "message": f"internal error: {type(failure).__name__}", "detail": {}}
        self._try("finish", lambda: self._finish(claimed.id, error))
        seconds = round(time.monotonic() - started, 3)
        if error:
            bound.warning("task failed", seconds=seconds, error=error)
        else:
            bound.info("task done", seconds=seconds)

    def _finish(self, number: int, error: dict[str, Any] | None) -> None:
        with self._index.session() as session:
            rows.finish(session, number, self._owner, error, now=int(time.time()))
        with self._wake:
            self._wake.notify_all()

    def _report(self, number: int, done: int, total: int, unit: str) -> None:
        if self._stopping:
            raise TaskInterrupted
        with self._index.session() as session:
            mine = rows.report(session, number, self._owner, done, total, unit, now=int(time.time()))
        if not mine:
            raise TaskInterrupted


class _Reporter:
    """Progress of one task, written at most every REPORT_SECONDS and at the end."""

    def __init__(self, tasks: Tasks, number: int) -> None:
        self._tasks, self._number, self._next = tasks, number, 0.0

    def __call__(self, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if now >= self._next or done == total or self._tasks._stopping:
            self._next = now + REPORT_SECONDS
            self._tasks._report(self._number, done, total, unit)


def describe(error: SmidgenError) -> dict[str, Any]:
    """An error as the API shows it."""
    return {
        "code": error.code,
        "message": error.message,
        "detail": {name: str(value) for name, value in error.detail.items()},
        "advice": error.advice(),
    }
