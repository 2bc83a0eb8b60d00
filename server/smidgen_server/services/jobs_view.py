"""Deltas and their builds as the API and the command line show them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from smidgen_deltas.errors import NotFound
from smidgen_server.index import deltas, jobs
from smidgen_server.index.tables.core import repo as repo_table


@dataclass(frozen=True, slots=True)
class JobView:
    """A delta and its build; see index.deltas.DeltaRow.

    Args:
        repo: "kind/name"; sources, target: digests of revisions.
        done, total: bytes, while it is built; full: bytes of the update without the delta; size: of the delta.
    """

    id: int
    repo: str
    sources: tuple[str, ...]
    target: str
    format: str
    state: str
    reason: str | None
    attempts: int
    priority: int
    done: int
    total: int
    full: int
    size: int
    created: int
    not_before: int
    finished: int | None


class JobUnknown(NotFound):
    """There is no such job."""


def view(session: Session, rows: Sequence[deltas.DeltaRow]) -> list[JobView]:
    """The rows, in their order."""
    numbers = {number for row in rows for number in (*row.sources, row.target_id)}
    names = {number: str(digest) for number, digest in deltas.digests(session, numbers).items()}
    query = select(repo_table.c.id, repo_table.c.kind, repo_table.c.name)
    repos = {number: f"{kind}/{name}" for number, kind, name in session.execute(query)}
    return [
        JobView(
            id=row.id,
            repo=repos[row.repo_id],
            sources=tuple(names.get(number, "") for number in row.sources),
            target=names[row.target_id],
            format=row.format,
            state=row.state,
            reason=row.reason,
            attempts=row.attempts,
            priority=row.priority,
            done=row.done,
            total=row.total,
            full=row.cost,
            size=row.size,
            created=row.created,
            not_before=row.not_before,
            finished=row.finished,
        )
        for row in rows
    ]


def find(session: Session, number: int) -> JobView:
    """Raises JobUnknown."""
    row = deltas.find(session, number)
    if row is None:
        raise JobUnknown("no such job", job=number)
    return view(session, [row])[0]


def listing(session: Session, states: Collection[str], before: int | None, limit: int) -> list[JobView]:
    """Newest first; `before` is the id to go on from."""
    return view(session, jobs.listing(session, states=states, before=before, limit=limit))


def counts(session: Session) -> dict[str, int]:
    """How many there are in each state."""
    return jobs.counts(session)
