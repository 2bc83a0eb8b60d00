"""What nothing needs any more, on the ostree side and of the update surface.

Each function removes at most CHUNK rows (or one pack) in the caller's transaction and says how many; the caller
repeats it until nothing is left, so that no transaction lasts long. Call `guard.exclude` first in each. Blobs that
lose their last row are the registry's collector's to remove.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, select
from sqlalchemy.orm import Session

import smidgen_server.index.tables  # noqa: F401  (every table that could refer to a content is in the metadata)
from smidgen_server.index.base import CHUNK, metadata
from smidgen_server.index.tables.core import blob, content, repo
from smidgen_server.index.tables.oci import oci_blob
from smidgen_server.index.tables.ostree import deflated, ostree_object, ostree_visible
from smidgen_server.index.tables.surface import frame, layer, location, pack, ref, revision, revision_blob


def repositories(session: Session) -> list[tuple[int, str]]:
    """(id, kind) of all."""
    return [(row[0], row[1]) for row in session.execute(select(repo.c.id, repo.c.kind).order_by(repo.c.id))]


def old_revisions(session: Session, repo_id: int, *, keep: int, before: int) -> list[int]:
    """Revisions made before `before` that no ref points at, without the `keep` newest of these."""
    query = (
        select(revision.c.id, revision.c.created)
        .where(revision.c.repo_id == repo_id, ~exists().where(ref.c.revision_id == revision.c.id))
        .order_by(revision.c.id.desc())
    )
    return [number for number, created in session.execute(query).all()[keep:] if created < before]


def commits(session: Session, repo_id: int) -> list[str]:
    """Digests of all revisions of a repository."""
    return list(session.scalars(select(revision.c.digest).where(revision.c.repo_id == repo_id)))


def shown_objects(session: Session, repo_id: int, *, after: int, before: int) -> list[tuple[int, int, bytes]]:
    """(row id, type, checksum) of objects shown since before `before`; the next CHUNK after the row id `after`."""
    query = (
        select(ostree_object.c.id, ostree_object.c.type, ostree_object.c.checksum)
        .join(ostree_visible, ostree_visible.c.object_id == ostree_object.c.id)
        .where(ostree_visible.c.repo_id == repo_id, ostree_visible.c.added < before, ostree_visible.c.object_id > after)
        .order_by(ostree_object.c.id)
        .limit(CHUNK)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def hide_objects(session: Session, repo_id: int, numbers: Sequence[int], *, before: int) -> int:
    """Stop showing at most CHUNK objects, unless a writer has come to need them."""
    where = (
        ostree_visible.c.repo_id == repo_id,
        ostree_visible.c.object_id.in_(numbers),
        ostree_visible.c.added < before,
    )
    return _count(session, delete(ostree_visible).where(*where))


def drop_objects(session: Session) -> int:
    """Objects that no repository shows."""
    unseen = ~exists().where(ostree_visible.c.object_id == ostree_object.c.id)
    return _drop(session, ostree_object.c.id, select(ostree_object.c.id).where(unseen))


def drop_deflated(session: Session) -> int:
    """Deflated forms of contents that no ostree object has."""
    unused = ~exists().where(ostree_object.c.content_id == deflated.c.content_id)
    return _drop(session, deflated.c.content_id, select(deflated.c.content_id).where(unused))


def drop_pack(session: Session, *, before: int) -> int:
    """One pack that no revision lists and that was made before `before`."""
    unused = and_(~exists().where(revision_blob.c.blob_id == pack.c.blob_id), blob.c.created < before)
    query = select(pack.c.id, pack.c.repo_id).join(blob, blob.c.id == pack.c.blob_id).where(unused).limit(1)
    row = session.execute(query).one_or_none()
    if row is None:
        return 0
    held = select(location.c.content_id).join(frame, frame.c.id == location.c.frame_id)
    inside = held.where(frame.c.pack_id == row.id)
    # A content may lie in several packs: it is to be had completely or not at all.
    session.execute(delete(location).where(location.c.repo_id == row.repo_id, location.c.content_id.in_(inside)))
    return _count(session, delete(pack).where(pack.c.id == row.id))


def drop_layers(session: Session) -> int:
    """Layers whose blob no repository shows."""
    shown = exists().where(blob.c.digest == layer.c.digest, oci_blob.c.blob_id == blob.c.id)
    return _drop(session, layer.c.id, select(layer.c.id).where(~shown))


def drop_contents(session: Session) -> int:
    """Contents that nothing refers to, by the foreign keys of all tables."""
    columns = [
        key.parent for table in metadata.tables.values() for key in table.foreign_keys if key.column is content.c.id
    ]
    unused = and_(*(~exists().where(column == content.c.id) for column in columns))
    return _drop(session, content.c.id, select(content.c.id).where(unused))


def _drop(session: Session, key: ColumnElement[Any], candidates: Select[Any]) -> int:
    numbers = list(session.scalars(candidates.limit(CHUNK)))
    if not numbers:
        return 0
    table = key.table
    return _count(session, delete(table).where(key.in_(numbers)))


def _count(session: Session, statement: Any) -> int:
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]
