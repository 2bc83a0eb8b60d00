"""What the registry knows: which repository shows which blobs, manifests and tags.

Every function takes an open session and runs one or a few set-based statements; nothing here commits, opens blobs or
decides who may ask. Digests travel as their strings. Listings are keyset-paginated: the caller names the last entry
it has seen and a limit, and asks for one more than it shows to learn whether there is a next page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, Table, delete, exists, func, select, update
from sqlalchemy.orm import Session

from smidgen_server.index.base import CHUNK, insert_ignore, select_in
from smidgen_server.index.tables.core import blob, repo
from smidgen_server.index.tables.oci import oci_blob, oci_made, oci_manifest, oci_reference, oci_tag

KIND: Final = "oci"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest a repository shows. `artifact_type` and `annotations` are what a referrers listing says about it."""

    id: int
    digest: str
    size: int
    media_type: str
    artifact_type: str | None
    subject: str | None
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest about to be shown.

    `references` are the digests of its config, layers and child manifests; `needed` those that must be there already.
    """

    digest: str
    size: int
    media_type: str
    artifact_type: str | None
    subject: str | None
    annotations: Mapping[str, str]
    references: tuple[str, ...]
    needed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkedBlob:
    """A blob as one repository sees it; `touched` is when a pusher last had to do with it (UTC seconds)."""

    repo_id: int
    blob_id: int
    size: int
    touched: int


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a tag stands for in one repository."""

    repo: str
    public: bool
    digest: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Page:
    """How much one answer may carry: a number of entries and of bytes of annotations, at least one entry."""

    entries: int
    bytes: int

    def fitting(self, sizes: Sequence[int]) -> int:
        """How many of the leading `sizes` fit."""
        total = 0
        for count, size in enumerate(sizes[: self.entries]):
            total += size
            if total > self.bytes and count > 0:
                return count
        return min(len(sizes), self.entries)


# Repositories


def list_repos(session: Session, last: str, limit: int) -> list[tuple[str, bool]]:
    """Name and public or not, after `last` ("" for the start), in the database's order of names."""
    query = select(repo.c.name, repo.c.public).where(repo.c.kind == KIND, repo.c.name > last)
    return [(name, public) for name, public in session.execute(query.order_by(repo.c.name).limit(limit))]


# Blobs


def ensure_blob(session: Session, digest: str, size: int, now: int) -> int:
    insert_ignore(session, blob, [{"digest": digest, "size": size, "created": now}])
    return int(session.scalars(select(blob.c.id).where(blob.c.digest == digest)).one())


def claim_blob(session: Session, digest: str, now: int) -> None:
    """Count the blob, if it is known, as created just now: garbage collection spares it for its grace period."""
    session.execute(update(blob).where(blob.c.digest == digest).values(created=now))


def find_blob(session: Session, name: str, digest: str) -> LinkedBlob | None:
    """The blob, if the repository `name` shows it."""
    query = (
        select(oci_blob.c.repo_id, oci_blob.c.blob_id, blob.c.size, oci_blob.c.touched)
        .join(blob, blob.c.id == oci_blob.c.blob_id)
        .join(repo, repo.c.id == oci_blob.c.repo_id)
        .where(repo.c.kind == KIND, repo.c.name == name, blob.c.digest == digest)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else LinkedBlob(*row)


def repos_showing(session: Session, digest: str, limit: int) -> list[str]:
    """Names of at most `limit` repositories from which the blob could be mounted."""
    query = (
        select(repo.c.name)
        .join(oci_blob, oci_blob.c.repo_id == repo.c.id)
        .join(blob, blob.c.id == oci_blob.c.blob_id)
        .where(repo.c.kind == KIND, blob.c.digest == digest)
        .order_by(repo.c.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def link_blob(session: Session, repo_id: int, blob_id: int, now: int) -> None:
    """Show the blob in the repository, or note that a pusher has found it there."""
    _put(session, oci_blob, {"repo_id": repo_id, "blob_id": blob_id}, {"touched": now})


def unlink_blob(session: Session, link: LinkedBlob) -> None:
    session.execute(delete(oci_blob).where(oci_blob.c.repo_id == link.repo_id, oci_blob.c.blob_id == link.blob_id))


# Manifests


def _manifests(name: str) -> Select[Any]:
    columns = ("id", "digest", "size", "media_type", "artifact_type", "subject", "annotations")
    return (
        select(*(oci_manifest.c[column] for column in columns))
        .join(repo, repo.c.id == oci_manifest.c.repo_id)
        .where(repo.c.kind == KIND, repo.c.name == name)
    )


def _stored(row: Row[*tuple[Any, ...]]) -> StoredManifest:
    number, digest, size, media_type, artifact_type, subject, annotations = row
    return StoredManifest(number, digest, size, media_type, artifact_type, subject, json.loads(annotations))


def manifest_by_digest(session: Session, name: str, digest: str) -> StoredManifest | None:
    row = session.execute(_manifests(name).where(oci_manifest.c.digest == digest)).one_or_none()
    return None if row is None else _stored(row)


def manifest_by_tag(session: Session, name: str, tag: str) -> StoredManifest | None:
    query = _manifests(name).join(oci_tag, oci_tag.c.manifest_id == oci_manifest.c.id).where(oci_tag.c.name == tag)
    row = session.execute(query).one_or_none()
    return None if row is None else _stored(row)


def put_manifest(session: Session, repo_id: int, blob_id: int, new: NewManifest, now: int) -> int:
    """Show the manifest in the repository and remember what it refers to; pushing it again changes its media type."""
    values = {
        "blob_id": blob_id,
        "size": new.size,
        "media_type": new.media_type,
        "artifact_type": new.artifact_type,
        "subject": new.subject,
        "annotations": json.dumps(dict(new.annotations), separators=(",", ":")),
        "pushed": now,
    }
    _put(session, oci_manifest, {"repo_id": repo_id, "digest": new.digest}, values)
    key = (oci_manifest.c.repo_id == repo_id, oci_manifest.c.digest == new.digest)
    manifest_id = int(session.scalars(select(oci_manifest.c.id).where(*key)).one())
    rows = [{"manifest_id": manifest_id, "digest": digest} for digest in sorted(set(new.references))]
    if rows:
        insert_ignore(session, oci_reference, rows)
    return manifest_id


def delete_manifest(session: Session, manifest_id: int) -> None:
    """Forget the manifest and every tag of it."""
    session.execute(delete(oci_manifest).where(oci_manifest.c.id == manifest_id))


def touch_blobs(session: Session, repo_id: int, digests: Sequence[str], now: int) -> None:
    """Mark those of the blobs that the repository shows as needed just now.

    The garbage collector deletes links by the same mark: whichever comes second waits and then sees what the first
    one did. Rows are locked in one order, so that two pushes of images with common layers cannot block each other.
    """
    shown = select(oci_blob.c.blob_id).join(blob, blob.c.id == oci_blob.c.blob_id).where(oci_blob.c.repo_id == repo_id)
    ids = sorted(row[0] for row in select_in(session, shown, blob.c.digest, digests))
    for start in range(0, len(ids), CHUNK):
        chosen = (oci_blob.c.repo_id == repo_id, oci_blob.c.blob_id.in_(ids[start : start + CHUNK]))
        session.execute(select(oci_blob.c.blob_id).where(*chosen).order_by(oci_blob.c.blob_id).with_for_update()).all()
        session.execute(update(oci_blob).where(*chosen).values(touched=now))


def shown_digests(session: Session, repo_id: int, digests: Sequence[str]) -> set[str]:
    """Those of `digests` that are blobs or manifests of the repository."""
    blobs = select(blob.c.digest).join(oci_blob, oci_blob.c.blob_id == blob.c.id).where(oci_blob.c.repo_id == repo_id)
    manifests = select(oci_manifest.c.digest).where(oci_manifest.c.repo_id == repo_id)
    found = {row[0] for row in select_in(session, blobs, blob.c.digest, digests)}
    return found | {row[0] for row in select_in(session, manifests, oci_manifest.c.digest, digests)}


def tags_of(session: Session, manifest_id: int) -> list[str]:
    return list(session.scalars(select(oci_tag.c.name).where(oci_tag.c.manifest_id == manifest_id)))


def list_referrers(
    session: Session, name: str, subject: str, artifact_type: str | None, last: str, page: Page
) -> tuple[list[StoredManifest], bool]:
    """Manifests with that subject, by digest, after `last`, and whether there are more.

    The sizes are asked for first: annotations may be megabytes each and a page of them must fit in memory.
    """
    chosen = [repo.c.kind == KIND, repo.c.name == name, oci_manifest.c.subject == subject, oci_manifest.c.digest > last]
    if artifact_type is not None:
        chosen.append(oci_manifest.c.artifact_type == artifact_type)
    sizes = (
        select(oci_manifest.c.digest, func.length(oci_manifest.c.annotations))
        .join(repo, repo.c.id == oci_manifest.c.repo_id)
        .where(*chosen)
        .order_by(oci_manifest.c.digest)
        .limit(page.entries + 1)
    )
    found = [(digest, size) for digest, size in session.execute(sizes)]
    fits = page.fitting([size for _, size in found])
    if fits == 0:
        return [], False
    query = _manifests(name).where(*chosen, oci_manifest.c.digest <= found[fits - 1][0])
    return [_stored(row) for row in session.execute(query.order_by(oci_manifest.c.digest))], fits < len(found)


# Tags


def set_tags(session: Session, repo_id: int, manifest_id: int, names: Iterable[str], now: int) -> None:
    """Point the tags at the manifest, wherever they pointed before."""
    for name in sorted(set(names)):
        _put(session, oci_tag, {"repo_id": repo_id, "name": name}, {"manifest_id": manifest_id, "updated": now})


def delete_tag(session: Session, repo_id: int, name: str) -> bool:
    """Remove the tag, keep its manifest. False: there was none."""
    found = session.scalar(select(oci_tag.c.manifest_id).where(oci_tag.c.repo_id == repo_id, oci_tag.c.name == name))
    session.execute(delete(oci_tag).where(oci_tag.c.repo_id == repo_id, oci_tag.c.name == name))
    return found is not None


def list_tags(session: Session, repo_id: int, last: str, limit: int) -> list[str]:
    """Tags after `last` ("" for the start), in byte order; not those that the server set itself."""
    pushed = ~exists().where(oci_made.c.manifest_id == oci_tag.c.manifest_id)
    query = select(oci_tag.c.name).where(oci_tag.c.repo_id == repo_id, oci_tag.c.name > last, pushed)
    return list(session.scalars(query.order_by(oci_tag.c.name).limit(limit)))


def tagged(session: Session, tag: str) -> list[Tagged]:
    """What the tag stands for in every repository that has it, by name."""
    query = (
        select(repo.c.name, repo.c.public, oci_manifest.c.digest, oci_manifest.c.media_type)
        .join(oci_tag, oci_tag.c.repo_id == repo.c.id)
        .join(oci_manifest, oci_manifest.c.id == oci_tag.c.manifest_id)
        .where(repo.c.kind == KIND, oci_tag.c.name == tag)
        .order_by(repo.c.name)
    )
    return [Tagged(*row) for row in session.execute(query)]


def _put(session: Session, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Change the row of that key, or insert it.

    In this order: a row that is deleted by somebody else between the two is inserted, one that is inserted by somebody
    else is as new as ours. The other way round a deletion in between would leave no row at all.
    """
    where = [table.c[name] == value for name, value in key.items()]
    if session.execute(update(table).where(*where).values(**values)).rowcount == 0:  # type: ignore[attr-defined]
        insert_ignore(session, table, [{**key, **values}])
