"""Rows of tar-diffs, and of the manifests that the server itself shows for them in the registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index.base import insert_ignore, select_in
from smidgen_server.index.deltas import READY
from smidgen_server.index.tables.core import blob, repo
from smidgen_server.index.tables.deltas import delta, delta_file
from smidgen_server.index.tables.oci import oci_blob, oci_made, oci_manifest, oci_tag

TARDIFF: Final = "tardiff"  # the format of flatpak and oci-delta


def files(session: Session, repo_id: int) -> list[tuple[str, Digest, int]]:
    """(name, blob, size) of all files of the ready tar-diffs of a repository: newest target first, smallest first."""
    query = (
        select(delta_file.c.name, blob.c.digest, blob.c.size)
        .join(blob, blob.c.id == delta_file.c.blob_id)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .where(delta.c.repo_id == repo_id, delta.c.format == TARDIFF, delta.c.state == READY)
        .order_by(delta.c.target_id.desc(), delta_file.c.name, blob.c.size, blob.c.digest)
    )
    return [(name, Digest.parse(digest), size) for name, digest, size in session.execute(query)]


def lock(session: Session, repo_id: int) -> None:
    """Wait until nobody else changes what the server shows in a repository, and see all that they have changed.

    Rows that refer to the repository can still be added: two pushes must not wait for each other.
    """
    session.execute(select(repo.c.id).where(repo.c.id == repo_id).with_for_update(key_share=True)).all()


def made(session: Session, repo_id: int) -> dict[str, int]:
    """Row ids, by digest, of the manifests in a repository that the server made."""
    query = (
        select(oci_manifest.c.digest, oci_manifest.c.id)
        .join(oci_made, oci_made.c.manifest_id == oci_manifest.c.id)
        .where(oci_manifest.c.repo_id == repo_id)
    )
    return {row.digest: row.id for row in session.execute(query)}


def mark(session: Session, manifest_id: int) -> None:
    """Note that the server made a manifest."""
    insert_ignore(session, oci_made, [{"manifest_id": manifest_id}])


def unmark(session: Session, manifest_id: int) -> None:
    """A manifest that is pushed is the pusher's from then on."""
    session.execute(delete(oci_made).where(oci_made.c.manifest_id == manifest_id))


def manifests(session: Session, repo_id: int, digests: Iterable[str]) -> dict[str, int]:
    """Row ids, by digest, of those of the manifests that a repository has."""
    query = select(oci_manifest.c.digest, oci_manifest.c.id).where(oci_manifest.c.repo_id == repo_id)
    return {row.digest: row.id for row in select_in(session, query, oci_manifest.c.digest, sorted(set(digests)))}


def linked(session: Session, repo_id: int, digests: Iterable[str]) -> set[str]:
    """Those of the digests that can be pulled from a repository as blobs."""
    query = select(blob.c.digest).join(oci_blob, oci_blob.c.blob_id == blob.c.id).where(oci_blob.c.repo_id == repo_id)
    return {row.digest for row in select_in(session, query, blob.c.digest, sorted(set(digests)))}


def tag_is_pushed(session: Session, repo_id: int, name: str) -> bool:
    """Whether there is such a tag that somebody else than the server set."""
    query = (
        select(oci_tag.c.manifest_id)
        .outerjoin(oci_made, oci_made.c.manifest_id == oci_tag.c.manifest_id)
        .where(oci_tag.c.repo_id == repo_id, oci_tag.c.name == name, oci_made.c.manifest_id.is_(None))
    )
    return session.execute(query).first() is not None
