"""Rows of ostree objects: what a checksum is, and which repository may show it.

Every statement is set-based and runs by index. Checksums are 32 raw bytes, types are ObjectType numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, delete, select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index.base import insert_ignore, select_in
from smidgen_server.index.batches import batches
from smidgen_server.index.content import Extent
from smidgen_server.index.tables.core import blob, content
from smidgen_server.index.tables.ostree import deflated, ostree_detached, ostree_object, ostree_visible

Name = tuple[int, bytes]  # (type, checksum)
TOUCH_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class NewObject:
    """A verified object about to be known: a file (header, content) or metadata (body)."""

    type: int
    checksum: bytes
    size: int
    header: bytes | None = None
    content_id: int | None = None
    body: bytes | None = None
    staged: bool = False


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file object; `sha256` and `content_id` are None for symlinks and empty files."""

    checksum: bytes
    header: bytes
    size: int
    content_id: int | None
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Servable:
    """What is needed to answer a request for an object: its body, or header and deflated form."""

    size: int
    header: bytes | None
    body: bytes | None
    extent: Extent | None


def known(session: Session, names: Collection[Name]) -> dict[Name, int]:
    """Those of the objects that anyone has; name -> row id."""
    query = select(ostree_object.c.type, ostree_object.c.checksum, ostree_object.c.id)
    return _by_name(session, query, names)


def visible(session: Session, repo_id: int, names: Collection[Name]) -> dict[Name, int]:
    """Those of the objects that the repository shows or holds staged; name -> row id."""
    query = (
        select(ostree_object.c.type, ostree_object.c.checksum, ostree_object.c.id)
        .join(ostree_visible, ostree_visible.c.object_id == ostree_object.c.id)
        .where(ostree_visible.c.repo_id == repo_id)
    )
    return _by_name(session, query, names)


def _by_name(session: Session, query: Select[Any], names: Collection[Name]) -> dict[Name, int]:
    wanted = set(names)
    rows = select_in(session, query, ostree_object.c.checksum, {checksum for _, checksum in wanted})
    return {(kind, checksum): number for kind, checksum, number in rows if (kind, checksum) in wanted}


def add(session: Session, repo_id: int, objects: Sequence[NewObject], *, now: int) -> None:
    """Make the objects known and visible in the repository; those known already only become visible."""
    insert_ignore(
        session,
        ostree_object,
        (
            {
                "type": new.type,
                "checksum": new.checksum,
                "size": new.size,
                "header": new.header,
                "content_id": new.content_id,
                "body": new.body,
            }
            for new in objects
        ),
    )
    staged = {(new.type, new.checksum): new.staged for new in objects}
    ids = known(session, staged)
    show(session, repo_id, {ids[name]: flag for name, flag in staged.items()}, now=now)


def show(session: Session, repo_id: int, objects: dict[int, bool], *, now: int) -> None:
    """Make known objects visible in the repository: row id -> staged."""
    insert_ignore(
        session,
        ostree_visible,
        (
            {"repo_id": repo_id, "object_id": number, "staged": staged, "added": now}
            for number, staged in objects.items()
        ),
    )


def touch(session: Session, repo_id: int, numbers: Collection[int], *, now: int) -> None:
    """A writer has found these objects (by row id) in the repository and relies on them: garbage collection spares
    them for its grace period. At most one write per object and TOUCH_SECONDS."""
    for part in batches(sorted(numbers)):
        session.execute(
            update(ostree_visible)
            .where(
                ostree_visible.c.repo_id == repo_id,
                ostree_visible.c.object_id.in_(part),
                ostree_visible.c.added < now - TOUCH_SECONDS,
            )
            .values(added=now)
        )


def unstage(session: Session, repo_id: int, number: int) -> None:
    """Serve an object (by row id) that was staged; its closure has been checked."""
    session.execute(
        update(ostree_visible)
        .where(ostree_visible.c.repo_id == repo_id, ostree_visible.c.object_id == number)
        .values(staged=False)
    )


def bodies(session: Session, numbers: Collection[int]) -> dict[Name, bytes]:
    """Bodies of metadata objects by row id."""
    query = select(ostree_object.c.id, ostree_object.c.type, ostree_object.c.checksum, ostree_object.c.body)
    return {(row[1], row[2]): row[3] for row in select_in(session, query, ostree_object.c.id, numbers)}


def visible_bodies(session: Session, repo_id: int, names: Collection[Name]) -> dict[Name, bytes]:
    """Bodies of those metadata objects that the repository has, staged or not."""
    return bodies(session, visible(session, repo_id, names).values())


def files(session: Session, repo_id: int, kind: int, checksums: Collection[bytes]) -> Iterator[StoredFile]:
    """File objects (`kind` is ObjectType.FILE) that the repository has, in no order."""
    query = (
        select(
            ostree_object.c.checksum,
            ostree_object.c.header,
            ostree_object.c.size,
            ostree_object.c.content_id,
            content.c.sha256,
        )
        .join(ostree_visible, ostree_visible.c.object_id == ostree_object.c.id)
        .outerjoin(content, content.c.id == ostree_object.c.content_id)
        .where(ostree_visible.c.repo_id == repo_id, ostree_object.c.type == kind)
    )
    for row in select_in(session, query, ostree_object.c.checksum, checksums):
        yield StoredFile(*row)


def _servable_query(repo_id: int) -> Select[Any]:
    return (
        select(
            ostree_object.c.type,
            ostree_object.c.checksum,
            ostree_object.c.size,
            ostree_object.c.header,
            ostree_object.c.body,
            blob.c.digest,
            deflated.c.start,
            deflated.c.length,
        )
        .join(ostree_visible, ostree_visible.c.object_id == ostree_object.c.id)
        .outerjoin(deflated, deflated.c.content_id == ostree_object.c.content_id)
        .outerjoin(blob, blob.c.id == deflated.c.blob_id)
        .where(ostree_visible.c.repo_id == repo_id, ~ostree_visible.c.staged)
    )


def _servable(row: Row[*tuple[Any, ...]]) -> Servable:
    extent = Extent(Digest.parse(row.digest), row.start, row.length) if row.digest else None
    return Servable(row.size, row.header, row.body, extent)


def servable(session: Session, repo_id: int, name: Name) -> Servable | None:
    """One object as a reader of the repository may get it."""
    kind, checksum = name
    query = _servable_query(repo_id).where(ostree_object.c.checksum == checksum, ostree_object.c.type == kind)
    row = session.execute(query).one_or_none()
    return _servable(row) if row else None


def servables(session: Session, repo_id: int, checksums: Iterable[bytes]) -> dict[Name, Servable]:
    """Many at once; what the repository does not show is left out."""
    rows = select_in(session, _servable_query(repo_id), ostree_object.c.checksum, checksums)
    return {(row.type, row.checksum): _servable(row) for row in rows}


def names(session: Session, repo_id: int) -> list[Name]:
    """All objects that a repository shows."""
    query = (
        select(ostree_object.c.type, ostree_object.c.checksum)
        .join(ostree_visible, ostree_visible.c.object_id == ostree_object.c.id)
        .where(ostree_visible.c.repo_id == repo_id, ~ostree_visible.c.staged)
        .order_by(ostree_object.c.checksum)
    )
    return [(row.type, row.checksum) for row in session.execute(query)]


def set_detached(session: Session, repo_id: int, commit: bytes, body: bytes) -> bool:
    """Store the detached metadata of a commit; False when it was there in these very bytes."""
    where = (ostree_detached.c.repo_id == repo_id, ostree_detached.c.checksum == commit)
    if session.execute(select(ostree_detached.c.body).where(*where)).scalar_one_or_none() == body:
        return False
    session.execute(delete(ostree_detached).where(*where))
    insert_ignore(session, ostree_detached, [{"repo_id": repo_id, "checksum": commit, "body": body}])
    return True


def detached(session: Session, repo_id: int, commit: bytes) -> bytes | None:
    where = (ostree_detached.c.repo_id == repo_id, ostree_detached.c.checksum == commit)
    return session.execute(select(ostree_detached.c.body).where(*where)).scalar_one_or_none()


def all_detached(session: Session, repo_id: int) -> list[tuple[bytes, bytes]]:
    """(commit, detached metadata) of a repository, by commit."""
    query = select(ostree_detached.c.checksum, ostree_detached.c.body).where(ostree_detached.c.repo_id == repo_id)
    return sorted((row.checksum, row.body) for row in session.execute(query))
