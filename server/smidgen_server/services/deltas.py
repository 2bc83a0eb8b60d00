"""What becomes of builds: deltas kept and offered, tried again later, or set aside with the reason."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SmidgenError
from smidgen_server.index import delta_uses, deltas, guard, jobs
from smidgen_server.index.tables.core import repo as repo_table
from smidgen_server.services import delta_formats, delta_variants
from smidgen_server.services.delta_worker import Outcome
from smidgen_server.services.stored import record_blob

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.deltas")
LONGEST: Final = 86400  # seconds between two attempts


def settle(services: Services, row: deltas.DeltaRow, lease: str, outcome: Outcome) -> None:
    """Act on what came of a build. Nothing happens when the lease is lost by now."""
    budget = services.settings.deltas.budget_bytes
    if budget is not None and outcome.size > budget:  # it would be evicted at once, and made again for the next asker
        reason = f"{outcome.size} bytes are more than all deltas together may have"
        set_aside(services, row, lease, deltas.USELESS, reason, cost=outcome.cost)
    elif outcome.files:
        try:
            _keep(services, row, lease, outcome)
        except SmidgenError as error:
            failed(services, row, lease, str(error))
    elif outcome.useless is not None:
        set_aside(services, row, lease, deltas.USELESS, outcome.useless, cost=outcome.cost)
    elif outcome.error is not None:
        failed(services, row, lease, outcome.error)


def _keep(services: Services, row: deltas.DeltaRow, lease: str, outcome: Outcome) -> None:
    """Note the delta and offer it, in one transaction. Raises Conflict when its blobs were collected meanwhile."""
    now = int(time.time())
    with services.index.session() as session:
        guard.share(session)
        files = tuple(
            (name, record_blob(session, services.blobs, Digest.parse(digest), size))
            for name, digest, size in outcome.files
        )
        made = deltas.Made(
            files=files,
            cost=outcome.cost,
            size=outcome.size,
            raw_size=outcome.raw_size,
            memory=outcome.memory,
            scratch=outcome.scratch,
            cpu=outcome.cpu,
            work=outcome.work,
            header=bytes.fromhex(outcome.header) if outcome.header else None,
            features=outcome.features,
        )
        if not deltas.finish(session, row.id, lease, made, now=now):
            return
        changed(services, session, [(row.repo_id, row.target_id)], row.format)
        for wish in delta_variants.wishes(services.settings.deltas, row, made):
            deltas.want(session, wish, now=now)
    services.metrics.deltas.labels(deltas.READY).inc()
    services.metrics.delta_bytes.inc(outcome.size)
    log.info("delta made", delta=row.id, format=row.format, size=outcome.size, full=outcome.cost)


def failed(services: Services, row: deltas.DeltaRow, lease: str, reason: str) -> None:
    """Try again later, or set the pair aside."""
    settings = services.settings.deltas
    if row.attempts >= settings.attempts:
        set_aside(services, row, lease, deltas.FAILED, reason)
        return
    wait = pause(settings.retry_seconds, row.attempts)
    with services.index.session() as session:
        jobs.put_off(session, row.id, lease, reason, until=int(time.time() + wait))
    services.metrics.job_retries.inc()
    log.warning("delta failed, trying again", delta=row.id, attempt=row.attempts, seconds=wait, reason=reason)


def pause(seconds: float, attempts: int) -> float:
    """How long to wait after so many attempts: doubling, half of it up to chance, so that pairs do not come in step."""
    return min(seconds * 2.0 ** (attempts - 1), LONGEST) * random.uniform(0.5, 1.0)


def set_aside(services: Services, row: deltas.DeltaRow, lease: str, state: str, reason: str, *, cost: int = 0) -> None:
    with services.index.session() as session:
        jobs.settle(session, row.id, lease, state, reason, now=int(time.time()), cost=cost)
    services.metrics.deltas.labels(state).inc()
    log.info("delta set aside", delta=row.id, state=state, reason=reason)


def changed(services: Services, session: Session, targets: Iterable[tuple[int, int]], *formats: str) -> None:
    """Say to readers that there are other deltas now to these (repository, revision); by default in all formats."""
    for repo_id, target_id in targets:
        query = select(repo_table.c.kind, repo_table.c.name).where(repo_table.c.id == repo_id)
        kind, name = session.execute(query).one()
        for one in formats or delta_formats.FORMATS:
            delta_formats.find(one).changed(services, session, kind, name, target_id)


def touched(session: Session, repo_id: int, revisions: Iterable[int]) -> list[tuple[int, int]]:
    """(repository, revision) to which there will be other deltas once these revisions are gone; for `changed`.

    Of the revisions themselves the last one that has deltas is among them: nobody reads about it any more, but lists
    of all deltas of a repository (ostree's summary, the registry's artifacts) are about it, too.
    """
    gone = sorted(revisions)
    targets = {target for number in gone for target in deltas.targets_from(session, number)}
    lost = [number for number in gone if deltas.has_ready(session, number)]
    return sorted({one for one in targets if one[1] not in gone} | {(repo_id, number) for number in lost[-1:]})


def keep_to_budget(services: Services) -> None:
    """Give up the least useful deltas while all together are too large."""
    budget, now = services.settings.deltas.budget_bytes, int(time.time())
    if budget is None:
        return
    with services.index.read() as session:
        if delta_uses.stored(session) <= budget:
            return
    with services.index.session() as session:
        gone = delta_uses.evict(session, budget, now=now)
        changed(services, session, gone)
    services.metrics.deltas.labels(deltas.EVICTED).inc(len(gone))
    log.info("deltas evicted", budget=budget, targets=len(gone))
