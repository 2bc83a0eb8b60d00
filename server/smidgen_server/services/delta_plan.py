"""Which deltas a newly published revision gets: from the last revisions of the same ref."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from smidgen_server.index import deltas, surface, tasks
from smidgen_server.settings import DeltaSettings

TASK: Final = "delta"
LANE: Final = "deltas"  # one at a time, so that publishing always finds a free thread


def queue(
    session: Session, settings: DeltaSettings, repo_id: int, ref: str, revision_id: int, version: int, *, now: int
) -> None:
    """Note what the ref points at now, and queue the deltas to it, in the transaction that switches the ref."""
    found = surface.find_ref(session, repo_id, ref)
    if found is None:
        return
    deltas.remember_target(session, found.id, revision_id, version)
    if not settings.from_last:
        return
    for source in deltas.earlier_targets(session, found.id, but=revision_id, limit=settings.from_last):
        number = deltas.want(session, repo_id, source, revision_id, now=now)
        if number is not None:
            tasks.add(session, TASK, LANE, {"delta": number}, now=now)
