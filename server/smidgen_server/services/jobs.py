"""Builds of deltas, run from the queue in the index (`index.jobs`) on an Executor (`jobs_executor`).

Any number of servers share the queue. Each holds the leases of what it has handed to its executor and keeps them alive;
what it leaves behind, killed at any point, is taken up by the next that looks: at once if both are on one machine, else
when the lease has been silent for `lease_seconds`. Until a build's last transaction nothing of it can be seen, so it
simply begins again, and a result that comes for a lost lease is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from smidgen_deltas.errors import SmidgenError
from smidgen_server.index import delta_uses, jobs
from smidgen_server.index.deltas import FAILED, DeltaRow
from smidgen_server.services import delta_plan, deltas, jobs_executor
from smidgen_server.services.delta_formats import check
from smidgen_server.services.delta_uses import Uses
from smidgen_server.services.delta_worker import Order, Outcome, build
from smidgen_server.services.tasks_owner import gone, owner_name

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

Result = TypeVar("Result")
POLL_SECONDS: Final = 1.0  # how soon a build that was queued is seen
LOOK_SECONDS: Final = 0.25  # how soon the end of the server is seen
KEEP_SECONDS: Final = 5.0  # between two rounds of housekeeping
log = structlog.get_logger("smidgen.jobs")


class Jobs:
    """Threads that run builds between `start` and `stop`, each one at a time, and one that keeps house."""

    def __init__(self) -> None:
        self.uses = Uses()
        self._wake = threading.Condition()
        self._opening = threading.Lock()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._executor: Executor | None = None

    def start(self, services: Services) -> None:
        """Take over what dead servers left, note what policies ask for, and begin to work.

        Raises SettingsError, FormatUnknown.
        """
        settings = services.settings.deltas
        jobs_executor.check(services.settings)
        check(settings.formats)
        for rule in settings.policies:
            check(rule.formats or ())
        self._stopping = False
        with services.index.session() as session:
            mine = owner_name()
            jobs.release(session, [one for one in jobs.leases(session) if gone(one, mine)], before=0)
            delta_plan.queue_all(session, settings, now=int(time.time()))
        works = [*([self._work] * settings.builds), self._keep_house]
        self._threads = [
            threading.Thread(target=work, args=(services,), name=f"jobs-{number}", daemon=True)
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Put running builds back and wait until their processes are gone."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.1))
        self._threads = []
        self._close_executor()

    def wake(self) -> None:
        """Something may have been queued."""
        with self._wake:
            self._wake.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._wake:
            if not self._stopping:
                self._wake.wait(seconds)

    def _work(self, services: Services) -> None:
        while not self._stopping:
            lease = owner_name()
            claimed = self._try("claim", partial(_claim, services, lease))
            if claimed is None:
                self._pause(POLL_SECONDS)
                continue
            self._try("build", partial(self._run, services, claimed, lease))

    def _keep_house(self, services: Services) -> None:
        while not self._stopping:
            self._try("housekeeping", partial(_keep_house, services, self.uses))
            self._pause(KEEP_SECONDS)

    def _try(self, what: str, action: Callable[[], Result]) -> Result | None:
        """The database may be away for a while; the queue outlives that."""
        try:
            return action()
        except SmidgenError as error:
            log.warning("job queue unavailable", step=what, reason=str(error))
            self._pause(POLL_SECONDS)
            return None

    def _run(self, services: Services, row: DeltaRow, lease: str) -> None:
        settings = services.settings
        if row.attempts > settings.deltas.attempts:
            reason = f"whatever built it died in {settings.deltas.attempts} builds"
            deltas.set_aside(services, row, lease, FAILED, f"{reason}; {row.reason}" if row.reason else reason)
            return
        order = Order(
            settings=settings.model_dump(mode="json"),
            number=row.id,
            lease=lease,
            sources=row.sources,
            target=row.target_id,
            format=row.format,
            keep_share=row.keep_share,
        )
        started = time.monotonic()
        outcome = self._outcome(services, order)
        if outcome is not None:
            services.metrics.delta_seconds.observe(time.monotonic() - started)
            deltas.settle(services, row, lease, outcome)

    def _outcome(self, services: Services, order: Order) -> Outcome | None:
        """What the executor gave; None when the build is not ours any more."""
        with services.metrics.jobs_running.track_inprogress():
            try:
                future = self._open_executor(services).submit(build, order)
                return self._await(services, future, order)
            except SmidgenError as error:
                return Outcome(error=str(error))
            except BaseException as error:  # noqa: BLE001 - the edge of the executor: any library's error may come
                self._close_executor()  # a cluster that is gone cannot be asked again
                return Outcome(error=f"{type(error).__name__}: {error}")

    def _await(self, services: Services, future: Future[Outcome], order: Order) -> Outcome | None:
        every = services.settings.deltas.lease_seconds / 4
        next_beat = time.monotonic() + every
        while not wait((future,), LOOK_SECONDS).done:
            if self._stopping:
                with services.index.session() as session:
                    jobs.give_back(session, order.number, order.lease)
                future.cancel()
                return None
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + every
                if self._try("beat", partial(_beat, services, order.number, order.lease)) is False:
                    future.cancel()
                    return None
        return future.result()

    def _open_executor(self, services: Services) -> Executor:
        with self._opening:
            if self._executor is None:
                self._executor = jobs_executor.open_executor(services.settings)
            return self._executor

    def _close_executor(self) -> None:
        with self._opening:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=self._stopping, cancel_futures=True)


def _claim(services: Services, lease: str) -> DeltaRow | None:
    now = int(time.time())
    with services.index.read() as session:
        if not jobs.ready(session, now=now):
            return None
    with services.index.session() as session:
        return jobs.claim(session, lease, now=now)


def _beat(services: Services, number: int, lease: str) -> bool:
    with services.index.session() as session:
        return jobs.beat(session, number, lease, now=int(time.time()))


def _keep_house(services: Services, uses: Uses) -> None:
    """Take over silent leases, count uses, keep to the budget, show numbers."""
    now, silent = int(time.time()), services.settings.deltas.lease_seconds
    fetched = uses.take()
    with services.index.read() as session:
        lapsed = jobs.silent(session, before=now - silent)
    if fetched or lapsed:
        with services.index.session() as session:
            delta_uses.count(session, fetched, now=now)
            jobs.release(session, (), before=now - silent)
    deltas.keep_to_budget(services)
    with services.index.read() as session:
        states, size = jobs.counts(session), delta_uses.stored(session)
    services.metrics.show_jobs(states, size)
