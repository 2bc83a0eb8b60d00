"""How useful deltas are, and which to give up when they take too much room.

The usefulness of a delta is the bytes it saves a device, times its recent uses, by the bytes it takes. A use halves in
weight every HALF_LIFE; a new delta begins with one, or it would be the first to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from smidgen_server.index import deltas
from smidgen_server.index.base import select_in
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.deltas import delta, delta_file

HALF_LIFE: Final = 7 * 86400  # seconds


def count(session: Session, fetched: Mapping[str, int], *, now: int) -> None:
    """Add fetches of blobs (digest -> how many); those of other blobs than deltas are nothing."""
    query = (
        select(delta.c.id, delta.c.uses, delta.c.used, blob.c.digest)
        .join(delta_file, delta_file.c.delta_id == delta.c.id)
        .join(blob, blob.c.id == delta_file.c.blob_id)
    )
    for number, uses, used, digest in list(select_in(session, query, blob.c.digest, sorted(fetched))):
        values = {"uses": faded(uses, now - used) + fetched[digest], "used": now}
        session.execute(update(delta).where(delta.c.id == number).values(**values))


def faded(uses: float, age: int) -> float:
    """The weight of uses after `age` seconds."""
    return uses * float(0.5 ** (max(age, 0) / HALF_LIFE))


def stored(session: Session) -> int:
    """Bytes of all ready deltas."""
    return int(session.execute(select(func.sum(delta.c.size)).where(delta.c.state == deltas.READY)).scalar() or 0)


def evict(session: Session, budget: int, *, now: int) -> list[tuple[int, int]]:
    """Give up the least useful until all fit in `budget` bytes. (repository, target) of those that are gone."""
    over = stored(session) - budget
    if over <= 0:
        return []
    columns = (delta.c.id, delta.c.repo_id, delta.c.target_id, delta.c.size, delta.c.cost, delta.c.uses, delta.c.used)
    found = session.execute(select(*columns).where(delta.c.state == deltas.READY)).all()
    ranked = sorted(
        found, key=lambda row: (usefulness(row.size, row.cost, faded(row.uses, now - row.used)), row.target_id, row.id)
    )
    gone = []
    for row in ranked:
        if over <= 0:
            break
        over -= row.size
        gone.append(row)
    numbers = [row.id for row in gone]
    deltas.drop_files(session, numbers)
    reason = f"all deltas together may have {budget} bytes; others are more useful"
    session.execute(update(delta).where(delta.c.id.in_(numbers)).values(state=deltas.EVICTED, reason=reason))
    return sorted({(row.repo_id, row.target_id) for row in gone})


def usefulness(size: int, cost: int, uses: float) -> float:
    """Bytes saved x recent uses / bytes taken."""
    return max(cost - size, 0) * uses / max(size, 1)
