"""Rows of tar-diffs, and of the manifests that the server itself shows for them in the registry."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index.base import insert_ignore
from smidgen_server.index.deltas import READY
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.deltas import delta, delta_file
from smidgen_server.index.tables.oci import oci_made, oci_manifest, oci_tag

TARDIFF: Final = "tardiff"  # the format of flatpak and oci-delta


def files(session: Session, repo_id: int) -> list[tuple[str, Digest, int]]:
    """(name, blob, size) of all files of the ready tar-diffs of a repository, by name and size."""
    query = (
        select(delta_file.c.name, blob.c.digest, blob.c.size)
        .join(blob, blob.c.id == delta_file.c.blob_id)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .where(delta.c.repo_id == repo_id, delta.c.format == TARDIFF, delta.c.state == READY)
        .order_by(delta_file.c.name, blob.c.size, blob.c.digest)
    )
    return [(name, Digest.parse(digest), size) for name, digest, size in session.execute(query)]


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


def manifests(session: Session, repo_id: int) -> dict[str, int]:
    """Row ids of all manifests of a repository, by digest."""
    query = select(oci_manifest.c.digest, oci_manifest.c.id).where(oci_manifest.c.repo_id == repo_id)
    return {row.digest: row.id for row in session.execute(query)}


def tag_is_pushed(session: Session, repo_id: int, name: str) -> bool:
    """Whether there is such a tag that somebody else than the server set."""
    query = (
        select(oci_tag.c.manifest_id)
        .outerjoin(oci_made, oci_made.c.manifest_id == oci_tag.c.manifest_id)
        .where(oci_tag.c.repo_id == repo_id, oci_tag.c.name == name, oci_made.c.manifest_id.is_(None))
    )
    return session.execute(query).first() is not None
