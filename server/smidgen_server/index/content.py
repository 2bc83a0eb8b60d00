"""Contents and where their bytes lie: deflated in blobs of the server, or in frames of packs.

Set-based: each function runs a fixed number of statements per thousand rows, whatever the number of contents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index.base import ids_of, insert_ignore, select_in
from smidgen_server.index.batches import batches
from smidgen_server.index.tables.core import blob, content, repo
from smidgen_server.index.tables.ostree import deflated
from smidgen_server.index.tables.surface import location


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes at `start` of a blob."""

    blob: Digest
    start: int
    length: int


def add_blob(session: Session, digest: Digest, size: int, *, now: int) -> int:
    """The id of the row of a blob, made if there is none. One that is there is made young again, so that garbage
    collection does not take it before the caller's transaction refers to it."""
    query = update(blob).where(blob.c.digest == str(digest)).values(created=now).returning(blob.c.id)
    found = session.execute(query).scalar_one_or_none()
    if found is None:
        insert_ignore(session, blob, [{"digest": str(digest), "size": size, "created": now}])
        found = session.execute(query).scalar_one()
    return int(found)


def claim_blobs(session: Session, numbers: Collection[int], *, now: int) -> None:
    """Make rows young, so that garbage collection spares blobs that the caller is about to refer to."""
    for part in batches(sorted(numbers)):
        session.execute(update(blob).where(blob.c.id.in_(part)).values(created=now))


def ensure(session: Session, sizes: Mapping[bytes, int]) -> dict[bytes, int]:
    """Rows for these contents (sha256 -> size in bytes), made where missing; sha256 -> id."""
    insert_ignore(session, content, ({"sha256": sha256, "size": size} for sha256, size in sizes.items()))
    return ids_of(session, content.c.sha256, content.c.id, list(sizes))


def ids(session: Session, sha256s: Collection[bytes]) -> dict[bytes, int]:
    """Row ids of those contents that are known."""
    return ids_of(session, content.c.sha256, content.c.id, list(sha256s))


def with_deflated(session: Session, sha256s: Collection[bytes]) -> set[bytes]:
    """Those of the contents whose deflated form is stored."""
    query = select(content.c.sha256).join(deflated, deflated.c.content_id == content.c.id)
    return {row[0] for row in select_in(session, query, content.c.sha256, sha256s)}


def add_deflated(session: Session, blob_id: int, places: Iterable[tuple[int, int, int]]) -> None:
    """Note where deflated forms lie: (content id, start, length); what is known already stays as it is."""
    insert_ignore(
        session,
        deflated,
        (
            {"content_id": content_id, "blob_id": blob_id, "start": start, "length": length}
            for content_id, start, length in places
        ),
    )


def deflated_extents(session: Session, content_ids: Sequence[int]) -> dict[int, Extent]:
    query = select(deflated.c.content_id, blob.c.digest, deflated.c.start, deflated.c.length).join(
        blob, blob.c.id == deflated.c.blob_id
    )
    return {
        content_id: Extent(Digest.parse(digest), start, length)
        for content_id, digest, start, length in select_in(session, query, deflated.c.content_id, content_ids)
    }


def usable_by(repo_id: int) -> ColumnElement[bool]:
    """Condition on `location` joined with `repo`: packs that may be shown to readers of the repository."""
    return or_(location.c.repo_id == repo_id, repo.c.public)


def packed_for(session: Session, repo_id: int, content_ids: Sequence[int]) -> set[int]:
    """Those of the contents that are in packs which readers of the repository may see."""
    query = (
        select(location.c.content_id).distinct().join(repo, repo.c.id == location.c.repo_id).where(usable_by(repo_id))
    )
    return {row[0] for row in select_in(session, query, location.c.content_id, content_ids)}
