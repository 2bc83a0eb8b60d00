"""Rows of deltas, and of what refs pointed at before.

waiting -> ready | useless | failed. A ready delta's blob is listed among those that readers of the target may fetch.
A revision whose surface changed loses its deltas: they were made from its tree documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, delete, or_, select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.refdoc import DeltaOffer, Piece
from smidgen_server.index.base import insert_ignore
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.deltas import delta, ref_history
from smidgen_server.index.tables.surface import ref, revision, revision_blob

WAITING: Final = "waiting"
READY: Final = "ready"
USELESS: Final = "useless"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """One delta; `attempts` counts builds that were begun, `reason` tells about the state."""

    id: int
    repo_id: int
    source_id: int
    target_id: int
    state: str
    attempts: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """What a build gave. Sizes in bytes; memory, scratch, cpu: as in the header; header: sha256 of its stored form."""

    blob_id: int
    raw_size: int
    memory: int
    scratch: int
    cpu: int
    header: bytes
    features: tuple[str, ...]


def remember_target(session: Session, ref_id: int, revision_id: int, version: int) -> None:
    """Note that a ref points at a revision from `version` on."""
    row = {"ref_id": ref_id, "revision_id": revision_id, "version": version}
    where = (ref_history.c.ref_id == ref_id, ref_history.c.revision_id == revision_id)
    insert_ignore(session, ref_history, [row])
    session.execute(update(ref_history).where(*where).values(version=version))


def earlier_targets(session: Session, ref_id: int, *, but: int, limit: int) -> list[int]:
    """Revisions that a ref pointed at before, newest first, without `but`."""
    query = (
        select(ref_history.c.revision_id)
        .join(revision, revision.c.id == ref_history.c.revision_id)
        .where(ref_history.c.ref_id == ref_id, ref_history.c.revision_id != but, revision.c.tree_blob_id.is_not(None))
        .order_by(ref_history.c.version.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def want(session: Session, repo_id: int, source_id: int, target_id: int, *, now: int) -> int | None:
    """Add a waiting delta; its id, or None when there is one already, in whatever state."""
    where = (delta.c.source_id == source_id, delta.c.target_id == target_id)
    if session.execute(select(delta.c.id).where(*where)).first():
        return None
    row = {
        "repo_id": repo_id,
        "source_id": source_id,
        "target_id": target_id,
        "state": WAITING,
        "attempts": 0,
        "raw_size": 0,
        "memory": 0,
        "features": "",
        "created": now,
    }
    insert_ignore(session, delta, [row])
    return int(session.execute(select(delta.c.id).where(*where)).scalar_one())


def find(session: Session, number: int) -> DeltaRow | None:
    found = session.execute(_rows().where(delta.c.id == number)).one_or_none()
    return _row(found) if found else None


def listing(session: Session, target_id: int) -> list[DeltaRow]:
    """All deltas to a revision, newest sources first."""
    query = _rows().where(delta.c.target_id == target_id).order_by(delta.c.source_id.desc())
    return [_row(found) for found in session.execute(query)]


def begin(session: Session, number: int) -> int | None:
    """Count one more build of a waiting delta; how many it are now. None when it does not wait (any more)."""
    query = (
        update(delta)
        .where(delta.c.id == number, delta.c.state == WAITING)
        .values(attempts=delta.c.attempts + 1)
        .returning(delta.c.attempts)
    )
    return session.execute(query).scalar_one_or_none()


def give_back(session: Session, number: int) -> None:
    """A build was interrupted through no fault of its own: it does not count."""
    session.execute(
        update(delta).where(delta.c.id == number, delta.c.state == WAITING).values(attempts=delta.c.attempts - 1)
    )


def settle(session: Session, number: int, state: str, reason: str) -> None:
    """Set the state of a waiting delta, with its reason."""
    session.execute(
        update(delta).where(delta.c.id == number, delta.c.state == WAITING).values(state=state, reason=reason[:2000])
    )


def finish(session: Session, number: int, made: Made) -> bool:
    """waiting -> ready; readers of the target may fetch the blob. False when the delta is not wanted any more."""
    query = (
        update(delta)
        .where(delta.c.id == number, delta.c.state == WAITING)
        .values(
            state=READY,
            reason=None,
            blob_id=made.blob_id,
            raw_size=made.raw_size,
            memory=made.memory,
            scratch=made.scratch,
            cpu=made.cpu,
            header=made.header,
            features=" ".join(made.features),
        )
        .returning(delta.c.target_id)
    )
    target = session.execute(query).scalar_one_or_none()
    if target is not None:
        insert_ignore(session, revision_blob, [{"revision_id": target, "blob_id": made.blob_id}])
    return target is not None


def offers(session: Session, target_id: int) -> tuple[DeltaOffer, ...]:
    """The deltas to a revision, as its ref document names them: newest source first."""
    query = (
        select(delta, revision.c.digest.label("source"), blob.c.digest.label("blob"), blob.c.size.label("size"))
        .join(revision, revision.c.id == delta.c.source_id)
        .join(blob, blob.c.id == delta.c.blob_id)
        .where(delta.c.target_id == target_id, delta.c.state == READY)
        .order_by(delta.c.source_id.desc())
    )
    return tuple(
        DeltaOffer(
            sources=(Digest.parse(row.source),),
            piece=Piece(Digest.parse(row.blob), row.size, row.raw_size),
            memory=row.memory,
            scratch=row.scratch,
            cpu=row.cpu,
            features=tuple(row.features.split()),
            header=Digest.from_raw(row.header),
        )
        for row in session.execute(query)
    )


def refs_at(session: Session, target_id: int) -> list[str]:
    """Names of the refs that point at a revision."""
    return list(session.scalars(select(ref.c.name).where(ref.c.revision_id == target_id).order_by(ref.c.name)))


def forget(session: Session, revision_id: int) -> None:
    """Remove all deltas from and to a revision; nobody may fetch them any more."""
    where = or_(delta.c.source_id == revision_id, delta.c.target_id == revision_id)
    for target_id, blob_id in session.execute(select(delta.c.target_id, delta.c.blob_id).where(where)).all():
        if blob_id is not None:
            session.execute(
                delete(revision_blob).where(
                    revision_blob.c.revision_id == target_id, revision_blob.c.blob_id == blob_id
                )
            )
    session.execute(delete(delta).where(where))


def blobs_to(session: Session, target_id: int) -> set[int]:
    """Row ids of the blobs of all ready deltas to a revision."""
    query = select(delta.c.blob_id).where(delta.c.target_id == target_id, delta.c.blob_id.is_not(None))
    return {number for number in session.scalars(query) if number is not None}


def _rows() -> Select[Any]:
    return select(
        delta.c.id,
        delta.c.repo_id,
        delta.c.source_id,
        delta.c.target_id,
        delta.c.state,
        delta.c.attempts,
        delta.c.reason,
    )


def _row(found: Row[*tuple[Any, ...]]) -> DeltaRow:
    return DeltaRow(**found._mapping)
