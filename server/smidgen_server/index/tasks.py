"""Rows of background tasks: queued -> running -> done | failed; running -> queued when its owner is gone.

A task is claimed only when no older one of its lane is unfinished, so the order of one lane is the order of asking,
also across processes that share the index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, and_, exists, insert, select, update
from sqlalchemy.orm import Session

from smidgen_server.index.tables.surface import task

QUEUED: Final = "queued"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
LEASE_SECONDS: Final = 60  # a running task whose owner gave no sign for so long is taken over


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task; times are UTC seconds, `error` is {code, message, detail, advice} or None."""

    id: int
    kind: str
    lane: str
    payload: dict[str, Any]
    state: str
    done: int
    total: int
    unit: str
    error: dict[str, Any] | None
    created: int
    finished: int | None


_COLUMNS: Final = (
    task.c.id,
    task.c.kind,
    task.c.lane,
    task.c.payload,
    task.c.state,
    task.c.done,
    task.c.total,
    task.c.unit,
    task.c.error,
    task.c.created,
    task.c.finished,
)


def _row(found: Row[*tuple[Any, ...]]) -> TaskRow:
    values = dict(zip((column.name for column in _COLUMNS), found, strict=True))
    error = values.pop("error")
    payload = json.loads(values.pop("payload"))
    return TaskRow(**values, payload=payload, error=json.loads(error) if error else None)


def add(session: Session, kind: str, lane: str, payload: dict[str, Any], *, now: int) -> int:
    """Queue a task; returns its id."""
    row = {
        "kind": kind,
        "lane": lane,
        "payload": json.dumps(payload, sort_keys=True),
        "state": QUEUED,
        "done": 0,
        "total": 0,
        "unit": "",
        "beat": now,
        "created": now,
    }
    return int(session.execute(insert(task).values(row).returning(task.c.id)).scalar_one())


def find(session: Session, number: int) -> TaskRow | None:
    found = session.execute(select(*_COLUMNS).where(task.c.id == number)).one_or_none()
    return _row(found) if found else None


def queued_like(session: Session, kind: str, lane: str, payload: dict[str, Any]) -> int | None:
    """The id of a task that waits to do exactly this, if there is one."""
    query = select(task.c.id).where(
        task.c.state == QUEUED,
        task.c.kind == kind,
        task.c.lane == lane,
        task.c.payload == json.dumps(payload, sort_keys=True),
    )
    return session.execute(query.limit(1)).scalar_one_or_none()


def listing(
    session: Session, *, states: Iterable[str] = (), before: int | None = None, limit: int = 100
) -> list[TaskRow]:
    """Newest first."""
    query: Select[Any] = select(*_COLUMNS).order_by(task.c.id.desc()).limit(limit)
    wanted = tuple(states)
    if wanted:
        query = query.where(task.c.state.in_(wanted))
    if before is not None:
        query = query.where(task.c.id < before)
    return [_row(found) for found in session.execute(query)]


def claim(session: Session, owner: str, *, now: int) -> TaskRow | None:
    """Take the oldest task that may run; None when there is none."""
    older = task.alias("older")
    blocked = exists().where(
        and_(older.c.lane == task.c.lane, older.c.id < task.c.id, older.c.state.in_((QUEUED, RUNNING)))
    )
    query = (
        select(*_COLUMNS)
        .where(task.c.state == QUEUED, ~blocked)
        .order_by(task.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=task)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    session.execute(update(task).where(task.c.id == found.id).values(state=RUNNING, owner=owner, beat=now, error=None))
    return _row(found)


def report(session: Session, number: int, owner: str, done: int, total: int, unit: str, *, now: int) -> bool:
    """Note progress, which is also a sign of life. False when the task is no longer the owner's."""
    query = (
        update(task)
        .where(task.c.id == number, task.c.owner == owner, task.c.state == RUNNING)
        .values(done=done, total=total, unit=unit, beat=now)
        .returning(task.c.id)
    )
    return session.execute(query).one_or_none() is not None


def beat(session: Session, owner: str, *, now: int) -> None:
    """A sign of life for everything that `owner` runs."""
    session.execute(update(task).where(task.c.owner == owner, task.c.state == RUNNING).values(beat=now))


def finish(session: Session, number: int, owner: str, error: dict[str, Any] | None, *, now: int) -> None:
    """running -> done, or failed with its reason."""
    values = {"state": FAILED if error else DONE, "error": json.dumps(error) if error else None, "finished": now}
    session.execute(
        update(task).where(task.c.id == number, task.c.owner == owner, task.c.state == RUNNING).values(**values)
    )


def release(session: Session, owner: str) -> None:
    """Put back what `owner` was running; another owner, or the same one later, takes it up."""
    session.execute(update(task).where(task.c.owner == owner, task.c.state == RUNNING).values(state=QUEUED, owner=None))


def owners(session: Session) -> list[str]:
    """Who is running something."""
    return [name for (name,) in session.execute(select(task.c.owner).where(task.c.state == RUNNING).distinct()) if name]


def release_lapsed(session: Session, *, now: int) -> None:
    """Put back what is running without a sign of life for LEASE_SECONDS."""
    session.execute(
        update(task).where(task.c.state == RUNNING, task.c.beat < now - LEASE_SECONDS).values(state=QUEUED, owner=None)
    )


def prune(session: Session, *, before: int) -> int:
    """Forget tasks that finished before `before`; returns how many."""
    gone = session.execute(task.delete().where(task.c.finished < before).returning(task.c.id)).all()
    return len(gone)
