"""The builds of deltas as a queue of leased rows (`index.deltas` has the states).

A build belongs to whoever holds its lease: a name that nobody else uses, given at `claim`, kept alive by `beat`. What
reports for a lease that is not the row's any more is told so and must stop. Builds whose lease fell silent wait again;
each build that was begun counts, unless it was given back in good order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from smidgen_server.index.deltas import (
    ACTIVE,
    BUILDING,
    CANCELLED,
    EVICTED,
    FAILED,
    USELESS,
    WAITING,
    DeltaRow,
    as_row,
    find,
    rows,
)
from smidgen_server.index.tables.deltas import delta

MAX_REASON: Final = 2000
RETRYABLE: Final = (FAILED, USELESS, CANCELLED, EVICTED)


def ready(session: Session, *, now: int) -> bool:
    """Whether there is a build to claim, as far as a reader can tell."""
    query = select(delta.c.id).where(delta.c.state == WAITING, delta.c.not_before <= now).limit(1)
    return session.execute(query).one_or_none() is not None


def claim(session: Session, lease: str, *, now: int) -> DeltaRow | None:
    """Take the build that matters most and may begin, oldest first; None when there is none."""
    query = (
        rows()
        .where(delta.c.state == WAITING, delta.c.not_before <= now)
        .order_by(delta.c.priority.desc(), delta.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=delta)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    values = {"state": BUILDING, "lease": lease, "beat": now, "attempts": found.attempts + 1, "done": 0, "total": 0}
    session.execute(update(delta).where(delta.c.id == found.id).values(**values))
    return find(session, found.id)


def beat(session: Session, number: int, lease: str, *, now: int) -> bool:
    """A sign of life. False when the build is no longer the lease's: it was cancelled or taken over."""
    return _held(session, number, lease, {"beat": now})


def report(session: Session, number: int, lease: str, done: int, total: int) -> bool:
    """Note progress in bytes, which is not a sign of life of the lease's holder. False as `beat`."""
    return _held(session, number, lease, {"done": done, "total": total})


def give_back(session: Session, number: int, lease: str) -> bool:
    """The build was stopped through no fault of its own: it does not count, and waits again."""
    return _held(session, number, lease, {"state": WAITING, "lease": None, "attempts": delta.c.attempts - 1})


def put_off(session: Session, number: int, lease: str, reason: str, *, until: int) -> bool:
    """The build failed: it waits again, at least until `until` (UTC seconds)."""
    values = {"state": WAITING, "lease": None, "reason": reason[:MAX_REASON], "not_before": until}
    return _held(session, number, lease, values)


def settle(session: Session, number: int, lease: str, state: str, reason: str, *, now: int, cost: int = 0) -> bool:
    """The build is over without a delta, for a reason. cost: bytes of the full update, if known."""
    values = {"state": state, "lease": None, "reason": reason[:MAX_REASON], "finished": now, "cost": cost}
    return _held(session, number, lease, values)


def cancel(session: Session, number: int, reason: str, *, now: int) -> bool:
    """waiting, building -> cancelled; who builds it finds out at the next report. False: neither."""
    where = (delta.c.id == number, delta.c.state.in_(ACTIVE))
    values = {"state": CANCELLED, "lease": None, "reason": reason[:MAX_REASON], "finished": now}
    return _changed(session, where, values)


def retry(session: Session, number: int, *, now: int, priority: int = 0) -> bool:
    """Let a delta that was set aside (or waits for a later attempt) be built anew and at once. False: it is not."""
    where = (delta.c.id == number, or_(delta.c.state.in_(RETRYABLE), delta.c.state == WAITING))
    anew = {"state": WAITING, "lease": None, "attempts": 0, "not_before": now, "reason": None, "finished": None}
    return _changed(session, where, {**anew, "priority": priority})


def hurry(session: Session, number: int, priority: int) -> bool:
    """Let a build that waits come earlier. False when it does not wait."""
    return _changed(session, (delta.c.id == number, delta.c.state == WAITING), {"priority": priority})


def leases(session: Session) -> list[str]:
    """Who builds something."""
    return [one for one in session.scalars(select(delta.c.lease).where(delta.c.state == BUILDING)) if one]


def silent(session: Session, *, before: int) -> bool:
    """Whether some lease gave no sign since `before`."""
    query = select(delta.c.id).where(delta.c.state == BUILDING, delta.c.beat < before).limit(1)
    return session.execute(query).one_or_none() is not None


def release(session: Session, gone: Collection[str], *, before: int) -> int:
    """Let builds wait again whose lease is `gone`, or gave no sign since `before`. How many."""
    lost = or_(delta.c.lease.in_(list(gone)), delta.c.beat < before)
    query = update(delta).where(delta.c.state == BUILDING, lost).values(state=WAITING, lease=None)
    return len(session.execute(query.returning(delta.c.id)).all())


def listing(
    session: Session, *, states: Collection[str] = (), repo_id: int | None = None, before: int | None, limit: int
) -> list[DeltaRow]:
    """Newest first."""
    query = rows().order_by(delta.c.id.desc()).limit(limit)
    if states:
        query = query.where(delta.c.state.in_(list(states)))
    if repo_id is not None:
        query = query.where(delta.c.repo_id == repo_id)
    if before is not None:
        query = query.where(delta.c.id < before)
    return [as_row(found) for found in session.execute(query)]


def counts(session: Session) -> dict[str, int]:
    """How many deltas are in each state."""
    query = select(delta.c.state, func.count()).group_by(delta.c.state)
    return {row[0]: row[1] for row in session.execute(query)}


def waiting(session: Session, *, priority: int) -> int:
    """How many builds of a priority are not over."""
    query = select(func.count()).where(delta.c.state.in_(ACTIVE), delta.c.priority == priority)
    return int(session.execute(query).scalar_one())


def _held(session: Session, number: int, lease: str, values: Mapping[str, Any]) -> bool:
    return _changed(session, (delta.c.id == number, delta.c.state == BUILDING, delta.c.lease == lease), values)


def _changed(session: Session, where: tuple[ColumnElement[bool], ...], values: Mapping[str, Any]) -> bool:
    query = update(delta).where(and_(*where)).values(**values).returning(delta.c.id)
    return session.execute(query).one_or_none() is not None
