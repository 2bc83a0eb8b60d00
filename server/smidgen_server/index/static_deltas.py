"""Rows of static deltas: ready deltas whose files have names below their ostree repository."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.ostree.deltaname import SUPERBLOCK, DeltaName
from smidgen_server.index.deltas import READY
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.deltas import delta, delta_file

STATIC: Final = "ostree"  # the format of stock ostree


def listed(session: Session, repo_id: int) -> dict[DeltaName, bytes]:
    """The static deltas of a repository, with the raw sha256 of their superblocks."""
    query = (
        select(delta_file.c.name, blob.c.digest)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .join(blob, blob.c.id == delta_file.c.blob_id)
        .where(delta.c.repo_id == repo_id, delta.c.format == STATIC, delta.c.state == READY)
    )
    end = f"/{SUPERBLOCK}"
    found = ((name, digest) for name, digest in session.execute(query) if name.endswith(end))
    return {DeltaName.of_folder(name.removesuffix(end)): Digest.parse(digest).raw for name, digest in found}


def file(session: Session, repo_id: int, path: str) -> Digest | None:
    """The blob of a file of a static delta, by its path below the repository."""
    query = (
        select(blob.c.digest)
        .join(delta_file, delta_file.c.blob_id == blob.c.id)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .where(delta.c.repo_id == repo_id, delta.c.format == STATIC, delta.c.state == READY)
        .where(delta_file.c.name == path)
    )
    found = session.scalars(query).first()
    return Digest.parse(found) if found else None


def files(session: Session, repo_id: int) -> list[tuple[str, Digest]]:
    """(path below the repository, blob) of all files of its static deltas, superblocks last."""
    query = (
        select(delta_file.c.name, blob.c.digest)
        .join(blob, blob.c.id == delta_file.c.blob_id)
        .join(delta, delta.c.id == delta_file.c.delta_id)
        .where(delta.c.repo_id == repo_id, delta.c.format == STATIC, delta.c.state == READY)
    )
    found = [(row.name, Digest.parse(row.digest)) for row in session.execute(query)]
    return sorted(found, key=lambda one: (one[0].endswith(f"/{SUPERBLOCK}"), one[0]))
