"""Keeping garbage collection and writers apart where the database would let them pass each other.

A writer looks whether a row is there and then relies on it; a collector deletes rows that nobody relies on. SQLite has
one writer at a time. PostgreSQL's snapshots do not see each other, so both take an advisory lock until their
transaction ends: writers share it, collectors have it alone.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

LOCK: Final = 0x736D6763  # "smgc"


def share(session: Session) -> None:
    """For transactions that rely on rows they did not write."""
    _lock(session, "pg_advisory_xact_lock_shared")


def exclude(session: Session) -> None:
    """For transactions that delete what nothing relies on."""
    _lock(session, "pg_advisory_xact_lock")


def _lock(session: Session, function: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT {function}(:lock)"), {"lock": LOCK})
