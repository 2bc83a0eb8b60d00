"""What a repository serves beside objects: config, summary, refs, and stored files such as static deltas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from smidgen_deltas.digest import Digest
from smidgen_deltas.ostree.config import format_config
from smidgen_deltas.ostree.deltaindex import encode_index
from smidgen_deltas.ostree.deltaname import index_path
from smidgen_server.index import static_deltas, surface
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.ostree import ostree_file, ostree_summary

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

HEADS: Final = "refs/heads/"


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A mutable file; `modified` is UTC seconds, 0 where nobody knows."""

    body: bytes
    modified: int


def small_file(services: Services, repo_id: int, path: str) -> SmallFile | None:
    """config, summary, summary.sig or a ref; None where there is none."""
    if path == "config":
        return SmallFile(format_config("archive"), 0)
    if path in ("summary", "summary.sig"):
        return _summary(services, repo_id, path)
    if path.startswith(HEADS):
        with services.index.read() as session:
            commit = surface.target(session, repo_id, path.removeprefix(HEADS))
        return SmallFile(f"{commit.hex}\n".encode(), 0) if commit else None
    return None


def _summary(services: Services, repo_id: int, path: str) -> SmallFile | None:
    column = ostree_summary.c.body if path == "summary" else ostree_summary.c.signature
    with services.index.read() as session:
        row = session.execute(
            select(column, ostree_summary.c.modified).where(ostree_summary.c.repo_id == repo_id)
        ).one_or_none()
    return SmallFile(row[0], row[1]) if row is not None and row[0] is not None else None


def stored_file(services: Services, repo_id: int, path: str) -> Digest | None:
    """The blob of a file below deltas/ or delta-indexes/."""
    query = (
        select(blob.c.digest)
        .join(ostree_file, ostree_file.c.blob_id == blob.c.id)
        .where(ostree_file.c.repo_id == repo_id, ostree_file.c.path == path)
    )
    with services.index.read() as session:
        found = session.execute(query).scalar_one_or_none()
        return Digest.parse(found) if found else static_deltas.file(session, repo_id, path)


def delta_index(services: Services, repo_id: int, path: str) -> bytes | None:
    """The list of the static deltas to a commit, made from what there is now; None where there are none."""
    with services.index.read() as session:
        listed = static_deltas.listed(session, repo_id)
    found = {name: digest for name, digest in listed.items() if index_path(name.target) == path}
    return encode_index(found) if found else None
