"""What nothing needs any more: links that no manifest of their repository uses, blobs that no row refers to.

Each function looks for candidates or removes one of them, and removing checks the whole condition again, in the
statement that deletes: between looking and deleting a push may have come to need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, delete, select, tuple_
from sqlalchemy.orm import Session

import smidgen_server.index.tables  # noqa: F401  (every table that could refer to a blob is in the metadata)
from smidgen_server.index.base import CHUNK, metadata, select_in
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.oci import oci_blob, oci_manifest, oci_reference


@dataclass(frozen=True, slots=True)
class DeadBlob:
    """A blob that no row of any table refers to."""

    id: int
    digest: str
    size: int


def dead_links(session: Session, before: int, after: tuple[int, int]) -> list[tuple[int, int]]:
    """(repository, blob) of links untouched since `before` that no manifest uses; the next ones after `after`."""
    key = (oci_blob.c.repo_id, oci_blob.c.blob_id)
    query = select(*key).where(_link_is_dead(before), tuple_(*key) > tuple_(*after)).order_by(*key).limit(CHUNK)
    return [(repo_id, blob_id) for repo_id, blob_id in session.execute(query)]


def remove_link(session: Session, link: tuple[int, int], before: int) -> bool:
    """False: it is needed by now, or gone."""
    repo_id, blob_id = link
    key = and_(oci_blob.c.repo_id == repo_id, oci_blob.c.blob_id == blob_id)
    return _count(session, delete(oci_blob).where(key, _link_is_dead(before))) > 0


def dead_blobs(session: Session, before: int, after: int) -> list[DeadBlob]:
    """Blobs created before `before` that nothing refers to; the next ones after the id `after`."""
    query = select(blob.c.id, blob.c.digest, blob.c.size).where(_blob_is_dead(before), blob.c.id > after)
    return [DeadBlob(*row) for row in session.execute(query.order_by(blob.c.id).limit(CHUNK))]


def remove_blob(session: Session, dead: DeadBlob, before: int) -> bool:
    """Remove the row; the caller removes the bytes before it commits. False: it is needed by now, or gone.

    Raises:
        IntegrityError: a transaction that ended meanwhile has come to refer to it.
    """
    return _count(session, delete(blob).where(blob.c.id == dead.id, _blob_is_dead(before))) > 0


def unknown_digests(session: Session, digests: Iterable[str]) -> Iterator[str]:
    """Those of the digests that have no row."""
    wanted = list(digests)
    known = {row[0] for row in select_in(session, select(blob.c.digest), blob.c.digest, wanted)}
    return (digest for digest in wanted if digest not in known)


def _link_is_dead(before: int) -> ColumnElement[bool]:
    used = (
        select(oci_reference.c.manifest_id)
        .join(blob, blob.c.digest == oci_reference.c.digest)
        .join(oci_manifest, oci_manifest.c.id == oci_reference.c.manifest_id)
        .where(blob.c.id == oci_blob.c.blob_id, oci_manifest.c.repo_id == oci_blob.c.repo_id)
        .correlate(oci_blob)
        .exists()
    )
    return and_(oci_blob.c.touched < before, ~used)


def _blob_is_dead(before: int) -> ColumnElement[bool]:
    """By the foreign keys of all tables, so that a new kind of user is safe without being listed here."""
    columns = [
        key.parent for table in metadata.tables.values() for key in table.foreign_keys if key.column is blob.c.id
    ]
    return and_(blob.c.created < before, *(~_refers(column) for column in columns))


def _refers(column: Column[Any]) -> ColumnElement[bool]:
    return select(column).where(column == blob.c.id).correlate(blob).exists()


def _count(session: Session, statement: Any) -> int:
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]
