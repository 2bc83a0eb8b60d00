"""Rows of delta policies: patterns of repository and ref, and a rule as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from smidgen_server.index.base import insert_ignore
from smidgen_server.index.tables.deltas import delta_policy


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """body: JSON of settings.DeltaRule."""

    repos: str
    refs: str
    body: str


def put(session: Session, row: PolicyRow) -> None:
    """Add the rule, or replace the one with the same patterns."""
    where = (delta_policy.c.repos == row.repos, delta_policy.c.refs == row.refs)
    insert_ignore(session, delta_policy, [{"repos": row.repos, "refs": row.refs, "body": row.body}])
    session.execute(update(delta_policy).where(*where).values(body=row.body))


def remove(session: Session, repos: str, refs: str) -> bool:
    """False: there is none with these patterns."""
    where = (delta_policy.c.repos == repos, delta_policy.c.refs == refs)
    return session.execute(delete(delta_policy).where(*where).returning(delta_policy.c.id)).one_or_none() is not None


def listing(session: Session) -> list[PolicyRow]:
    """Oldest first."""
    query = select(delta_policy.c.repos, delta_policy.c.refs, delta_policy.c.body).order_by(delta_policy.c.id)
    return [PolicyRow(*row) for row in session.execute(query)]
