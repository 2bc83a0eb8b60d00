"""Rows of revisions and refs: what is published, and the signed document that says so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, exists, select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index import deltas
from smidgen_server.index.base import insert_ignore
from smidgen_server.index.tables.core import blob, repo
from smidgen_server.index.tables.surface import ref, revision, revision_blob


@dataclass(frozen=True, slots=True)
class Part:
    """A stored blob of the surface: row id, digest, size as stored and once decompressed."""

    blob_id: int
    digest: Digest
    size: int
    raw_size: int


@dataclass(frozen=True, slots=True)
class Boot:
    """What makes a revision bootable: kernel release and, where there is one, the path of the initramfs."""

    kernel: str
    initramfs: str | None


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision with its surface; `files` and `bytes` count all of its files."""

    id: int
    repo_id: int
    digest: Digest
    tree: Part
    packs: Part | None
    files: int
    bytes: int
    created: int
    version: str | None
    boot: Boot | None


@dataclass(frozen=True, slots=True)
class NewRevision:
    """A revision whose surface is built; `blobs` are the row ids of everything that its readers may fetch."""

    digest: Digest
    tree: Part
    packs: Part | None
    files: int
    bytes: int
    version: str | None
    boot: Boot | None
    blobs: frozenset[int]


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref; `revision` is None once it is deleted. `signed` is when `document` was signed (UTC seconds)."""

    id: int
    repo_id: int
    name: str
    revision_id: int | None
    version: int
    published: int
    signed: int
    document: bytes | None


def put_revision(session: Session, repo_id: int, new: NewRevision, *, now: int) -> int:
    """Store a revision, or the new surface of one that is there; returns its id."""
    values = {
        "tree_blob_id": new.tree.blob_id,
        "tree_raw_size": new.tree.raw_size,
        "packs_blob_id": new.packs.blob_id if new.packs else None,
        "packs_raw_size": new.packs.raw_size if new.packs else 0,
        "files": new.files,
        "bytes": new.bytes,
        "version": new.version,
        "kernel": new.boot.kernel if new.boot else None,
        "initramfs": new.boot.initramfs if new.boot else None,
    }
    where = (revision.c.repo_id == repo_id, revision.c.digest == str(new.digest))
    insert_ignore(session, revision, [{"repo_id": repo_id, "digest": str(new.digest), "created": now, **values}])
    number, tree = session.execute(select(revision.c.id, revision.c.tree_blob_id).where(*where)).one()
    if tree != new.tree.blob_id:
        deltas.forget(session, number)
    session.execute(update(revision).where(revision.c.id == number).values(**values))
    session.execute(delete(revision_blob).where(revision_blob.c.revision_id == number))
    blobs = new.blobs | deltas.blobs_to(session, number)
    insert_ignore(session, revision_blob, ({"revision_id": number, "blob_id": one} for one in sorted(blobs)))
    return int(number)


def _revisions() -> Select[Any]:
    tree, packs = blob.alias("tree"), blob.alias("packs")
    return (
        select(
            revision,
            tree.c.digest.label("tree_digest"),
            tree.c.size.label("tree_size"),
            packs.c.digest.label("packs_digest"),
            packs.c.size.label("packs_size"),
        )
        .join(tree, tree.c.id == revision.c.tree_blob_id)
        .outerjoin(packs, packs.c.id == revision.c.packs_blob_id)
    )


def _revision(row: Row[*tuple[Any, ...]]) -> Revision:
    packs = None
    if row.packs_digest:
        packs = Part(row.packs_blob_id, Digest.parse(row.packs_digest), row.packs_size, row.packs_raw_size)
    return Revision(
        id=row.id,
        repo_id=row.repo_id,
        digest=Digest.parse(row.digest),
        tree=Part(row.tree_blob_id, Digest.parse(row.tree_digest), row.tree_size, row.tree_raw_size),
        packs=packs,
        files=row.files,
        bytes=row.bytes,
        created=row.created,
        version=row.version,
        boot=Boot(row.kernel, row.initramfs) if row.kernel else None,
    )


def find_revision(session: Session, repo_id: int, digest: Digest) -> Revision | None:
    query = _revisions().where(revision.c.repo_id == repo_id, revision.c.digest == str(digest))
    row = session.execute(query).one_or_none()
    return _revision(row) if row else None


def get_revision(session: Session, number: int) -> Revision:
    return _revision(session.execute(_revisions().where(revision.c.id == number)).one())


def revisions(session: Session, repo_id: int, *, limit: int, before: int | None = None) -> list[Revision]:
    """Newest first."""
    query = _revisions().where(revision.c.repo_id == repo_id).order_by(revision.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(revision.c.id < before)
    return [_revision(row) for row in session.execute(query)]


def delete_revision(session: Session, number: int) -> bool:
    """False when a ref points at it; nothing is changed then."""
    if session.execute(select(exists().where(ref.c.revision_id == number))).scalar_one():
        return False
    deltas.forget(session, number)
    session.execute(delete(revision).where(revision.c.id == number))
    return True


def find_ref(session: Session, repo_id: int, name: str, *, lock: bool = False) -> Ref | None:
    """Deleted refs too. `lock` keeps other writers off the row until the transaction ends."""
    query = select(ref).where(ref.c.repo_id == repo_id, ref.c.name == name)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    return Ref(**row._mapping) if row else None


def put_ref(
    session: Session,
    repo_id: int,
    name: str,
    revision_id: int | None,
    version: int,
    document: bytes | None,
    *,
    now: int,
) -> None:
    """Point the ref at a revision, or (None) delete it; the version must be above the one before."""
    values = {
        "revision_id": revision_id,
        "version": version,
        "published": now,
        "signed": now,
        "document": document,
    }
    insert_ignore(session, ref, [{"repo_id": repo_id, "name": name, **values}])
    session.execute(update(ref).where(ref.c.repo_id == repo_id, ref.c.name == name).values(**values))


def resign_ref(session: Session, found: Ref, document: bytes, *, now: int) -> None:
    """Replace the document of a ref whose target did not change, unless it changed meanwhile."""
    session.execute(
        update(ref).where(ref.c.id == found.id, ref.c.version == found.version).values(document=document, signed=now)
    )


def refs(session: Session, repo_id: int) -> list[tuple[str, Digest]]:
    """Live refs and the digests of their revisions, by name."""
    query = (
        select(ref.c.name, revision.c.digest)
        .join(revision, revision.c.id == ref.c.revision_id)
        .where(ref.c.repo_id == repo_id)
    )
    return sorted((name, Digest.parse(digest)) for name, digest in session.execute(query))


def target(session: Session, repo_id: int, name: str) -> Digest | None:
    """The revision that a live ref points at."""
    query = (
        select(revision.c.digest)
        .join(ref, ref.c.revision_id == revision.c.id)
        .where(ref.c.repo_id == repo_id, ref.c.name == name)
    )
    found = session.execute(query).scalar_one_or_none()
    return Digest.parse(found) if found else None


def readers(session: Session, digest: Digest) -> list[tuple[str, str, bool]]:
    """Repositories (kind, name, public) one of whose revisions lists this blob, public ones first."""
    query = (
        select(repo.c.kind, repo.c.name, repo.c.public)
        .join(revision, revision.c.repo_id == repo.c.id)
        .join(revision_blob, revision_blob.c.revision_id == revision.c.id)
        .join(blob, blob.c.id == revision_blob.c.blob_id)
        .where(blob.c.digest == str(digest))
        .distinct()
    )
    return sorted(((row[0], row[1], row[2]) for row in session.execute(query)), key=lambda row: not row[2])


def blobs_of(session: Session, repo_id: int, revisions: Collection[Digest]) -> list[Digest]:
    """All blobs that these revisions of a repository list."""
    query = (
        select(blob.c.digest)
        .join(revision_blob, revision_blob.c.blob_id == blob.c.id)
        .join(revision, revision.c.id == revision_blob.c.revision_id)
        .where(revision.c.repo_id == repo_id, revision.c.digest.in_([str(one) for one in revisions]))
        .distinct()
        .order_by(blob.c.digest)
    )
    return [Digest.parse(found) for found in session.scalars(query)]


def blob_ids(session: Session, digests: Collection[Digest]) -> dict[str, int]:
    """Row ids of stored blobs by digest text."""
    query = select(blob.c.digest, blob.c.id).where(blob.c.digest.in_([str(one) for one in digests]))
    return {row[0]: row[1] for row in session.execute(query)}
