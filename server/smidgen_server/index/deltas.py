"""Rows of deltas, and of what refs pointed at before.

waiting -> building -> ready | useless | failed | cancelled; a build that is given back waits again (`index.jobs`), and
a ready delta may be evicted (`index.delta_uses`). The blobs of a ready delta are listed among those that readers of the
target may fetch. A revision whose surface changed loses its deltas: they were made from its tree documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, delete, or_, select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.refdoc import MAX_DELTAS, DeltaOffer, Piece
from smidgen_server.index.base import insert_ignore, insert_new
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.deltas import delta, delta_file, delta_source, ref_history
from smidgen_server.index.tables.surface import ref, revision, revision_blob

WAITING: Final = "waiting"
BUILDING: Final = "building"
READY: Final = "ready"
USELESS: Final = "useless"
FAILED: Final = "failed"
EVICTED: Final = "evicted"
CANCELLED: Final = "cancelled"
ACTIVE: Final = (WAITING, BUILDING)

SMIDGEN: Final = "smidgen"  # the format of our own client, offered in ref documents
QUICK: Final = "smidgen-quick"  # the same, for links that are quicker than encoding again
LIGHT: Final = "smidgen-light"  # the same, for devices with little memory
OFFERED: Final = (SMIDGEN, QUICK, LIGHT)
FILE: Final = "delta"  # name of the only file of that format


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """One delta and its build.

    Args:
        sources: row ids of revisions; none: from nothing.
        reason: of the state.
        attempts: builds that were begun; done, total: bytes, of the build under way.
        not_before, created, finished: UTC seconds.
        cost: bytes of the full update; size: of the delta.
    """

    id: int
    repo_id: int
    target_id: int
    sources: tuple[int, ...]
    format: str
    state: str
    reason: str | None
    priority: int
    keep_share: float
    attempts: int
    not_before: int
    done: int
    total: int
    cost: int
    size: int
    created: int
    finished: int | None


@dataclass(frozen=True, slots=True)
class Wish:
    """A delta that is wanted; see DeltaRow. priority: higher is built first."""

    repo_id: int
    target_id: int
    sources: tuple[int, ...]
    format: str = SMIDGEN
    priority: int = 0
    keep_share: float = 0.9


@dataclass(frozen=True, slots=True)
class Made:
    """What a build gave. Sizes in bytes; memory, scratch and cpu as the header says; header: its stored sha256.

    work: milliseconds, see native.refdoc.DeltaOffer.
    """

    files: tuple[tuple[str, int], ...]  # name, row id of the blob
    cost: int
    size: int
    raw_size: int
    memory: int
    scratch: int
    cpu: int
    header: bytes | None
    features: tuple[str, ...]
    work: int = 0


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


def want(session: Session, wish: Wish, *, now: int) -> int | None:
    """Add a waiting delta; its id, or None when there is one already, in whatever state."""
    key = "+".join(map(str, wish.sources))
    zero = ("attempts", "beat", "done", "total", "cost", "size", "raw_size", "memory", "scratch", "cpu", "work")
    row: dict[str, Any] = dict.fromkeys(zero, 0) | {
        "repo_id": wish.repo_id,
        "target_id": wish.target_id,
        "sources": key,
        "format": wish.format,
        "state": WAITING,
        "priority": wish.priority,
        "keep_share": wish.keep_share,
        "not_before": now,
        "features": "",
        "uses": 1.0,
        "used": now,
        "created": now,
    }
    number = insert_new(session, delta, row)
    if number is not None:
        rows = [{"delta_id": number, "revision_id": one, "position": at} for at, one in enumerate(wish.sources)]
        insert_ignore(session, delta_source, rows)
    return number


def find(session: Session, number: int) -> DeltaRow | None:
    found = session.execute(rows().where(delta.c.id == number)).one_or_none()
    return as_row(found) if found else None


def find_wish(session: Session, wish: Wish) -> DeltaRow | None:
    """The delta between these revisions in this format."""
    key = "+".join(map(str, wish.sources))
    where = (delta.c.sources == key, delta.c.target_id == wish.target_id, delta.c.format == wish.format)
    found = session.execute(rows().where(*where)).one_or_none()
    return as_row(found) if found else None


def work_of(session: Session, sources: Sequence[int], target_id: int, form: str) -> int | None:
    """Milliseconds of encoding again of the ready delta between these revisions; None when there is none."""
    key = "+".join(map(str, sources))
    where = (delta.c.sources == key, delta.c.target_id == target_id, delta.c.format == form, delta.c.state == READY)
    return session.execute(select(delta.c.work).where(*where)).scalar_one_or_none()


def to_target(session: Session, target_id: int) -> list[DeltaRow]:
    """All deltas to a revision, newest sources first."""
    found = [as_row(row) for row in session.execute(rows().where(delta.c.target_id == target_id))]
    return sorted(found, key=lambda row: row.sources, reverse=True)


def finish(session: Session, number: int, lease: str, made: Made, *, now: int) -> bool:
    """building -> ready; readers of the target may fetch the files. False when the build is no longer the lease's."""
    query = (
        update(delta)
        .where(delta.c.id == number, delta.c.state == BUILDING, delta.c.lease == lease)
        .values(
            state=READY,
            reason=None,
            lease=None,
            cost=made.cost,
            size=made.size,
            raw_size=made.raw_size,
            memory=made.memory,
            scratch=made.scratch,
            cpu=made.cpu,
            work=made.work,
            header=made.header,
            features=" ".join(made.features),
            uses=1.0,
            used=now,
            finished=now,
        )
        .returning(delta.c.target_id)
    )
    target = session.execute(query).scalar_one_or_none()
    if target is None:
        return False
    files = [{"delta_id": number, "name": name, "blob_id": blob_id} for name, blob_id in made.files]
    insert_ignore(session, delta_file, files)
    insert_ignore(session, revision_blob, [{"revision_id": target, "blob_id": blob_id} for _, blob_id in made.files])
    return True


def offers(session: Session, target_id: int) -> tuple[DeltaOffer, ...]:
    """The deltas to a revision that its ref document names: the most used, newest source first."""
    query = (
        select(delta, blob.c.digest.label("blob"))
        .join(delta_file, delta_file.c.delta_id == delta.c.id)
        .join(blob, blob.c.id == delta_file.c.blob_id)
        .where(delta.c.target_id == target_id, delta.c.state == READY, delta.c.format.in_(OFFERED))
        .order_by(delta.c.uses.desc(), delta.c.id.desc())
        .limit(MAX_DELTAS)
    )
    found = sorted(((_ids(row.sources), row) for row in session.execute(query)), key=lambda one: one[0], reverse=True)
    names = digests(session, {number for sources, _ in found for number in sources})
    return tuple(
        DeltaOffer(
            sources=tuple(names[number] for number in sources),
            piece=Piece(Digest.parse(row.blob), row.size, row.raw_size),
            memory=row.memory,
            scratch=row.scratch,
            cpu=row.cpu,
            features=tuple(row.features.split()),
            header=Digest.from_raw(row.header),
            work=row.work,
        )
        for sources, row in found
    )


def digests(session: Session, revisions: Iterable[int]) -> dict[int, Digest]:
    """Digests of revisions by row id."""
    query = select(revision.c.id, revision.c.digest).where(revision.c.id.in_(list(revisions)))
    return {number: Digest.parse(text) for number, text in session.execute(query)}


def refs_at(session: Session, target_id: int) -> list[str]:
    """Names of the refs that point at a revision."""
    return list(session.scalars(select(ref.c.name).where(ref.c.revision_id == target_id).order_by(ref.c.name)))


def targets_from(session: Session, revision_id: int) -> list[tuple[int, int]]:
    """Other revisions (repository, revision) to which there is a ready delta from this one."""
    query = (
        select(delta.c.repo_id, delta.c.target_id)
        .join(delta_source, delta_source.c.delta_id == delta.c.id)
        .where(delta_source.c.revision_id == revision_id, delta.c.state == READY, delta.c.target_id != revision_id)
        .distinct()
    )
    return sorted((row[0], row[1]) for row in session.execute(query))


def has_ready(session: Session, target_id: int) -> bool:
    """Whether there is a ready delta to a revision, in any format."""
    return (
        session.scalar(select(delta.c.id).where(delta.c.target_id == target_id, delta.c.state == READY).limit(1))
        is not None
    )


def forget(session: Session, revision_id: int) -> None:
    """Remove all deltas from and to a revision; nobody may fetch them any more."""
    sources = select(delta_source.c.delta_id).where(delta_source.c.revision_id == revision_id)
    query = select(delta.c.id).where(or_(delta.c.target_id == revision_id, delta.c.id.in_(sources)))
    numbers = list(session.scalars(query))
    drop_files(session, numbers)
    session.execute(delete(delta).where(delta.c.id.in_(numbers)))


def drop_files(session: Session, numbers: Sequence[int]) -> None:
    """Nobody may fetch these deltas any more; their blobs are garbage if nothing else needs them."""
    for number in numbers:
        held = select(delta_file.c.blob_id).where(delta_file.c.delta_id == number)
        target = select(delta.c.target_id).where(delta.c.id == number).scalar_subquery()
        session.execute(
            delete(revision_blob).where(revision_blob.c.revision_id == target, revision_blob.c.blob_id.in_(held))
        )
        session.execute(delete(delta_file).where(delta_file.c.delta_id == number))


def blobs_to(session: Session, target_id: int) -> set[int]:
    """Row ids of the blobs of all ready deltas to a revision."""
    query = (
        select(delta_file.c.blob_id)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .where(delta.c.target_id == target_id)
    )
    return set(session.scalars(query))


def rows() -> Select[Any]:
    """Columns of DeltaRow; for `as_row`."""
    return select(*(delta.c[name] for name in DeltaRow.__dataclass_fields__))


def as_row(found: Row[*tuple[Any, ...]]) -> DeltaRow:
    values = dict(found._mapping)
    return DeltaRow(**values | {"sources": _ids(values["sources"])})


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split("+") if one)
