"""What the admin API shows and removes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import select

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import Conflict, NotFound
from smidgen_server.index import guard, surface
from smidgen_server.index import repos as repo_rows
from smidgen_server.index.tables.core import repo as repo_table
from smidgen_server.services import ostree_summary, refs
from smidgen_server.services.auth import Kind, Principal
from smidgen_server.services.deltas import changed, touched

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

ANYWHERE: Final = "*"  # matched only by rights on everything


@dataclass(frozen=True, slots=True)
class RepoView:
    """A repository; refs: name -> digest of the revision."""

    kind: str
    name: str
    public: bool
    refs: dict[str, str]


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A revision; `files` and `bytes` count its distinct contents. kernel: None when it is not bootable."""

    id: int
    digest: str
    files: int
    bytes: int
    tree: int
    created: int
    version: str | None
    kernel: str | None
    initramfs: str | None


def require_admin(services: Services, principal: Principal) -> None:
    """Raises Unauthorized, Denied."""
    services.auth.require(principal, "ostree", ANYWHERE, "admin")


def require_lane(services: Services, principal: Principal, lane: str) -> None:
    """The right to see the tasks of a lane, `<kind>/<repository>`: pushing there. Others are the administrators'."""
    kind, _, name = lane.partition("/")
    if kind in ("ostree", "oci") and name:
        services.auth.require(principal, cast(Kind, kind), name, "push")
    else:
        require_admin(services, principal)


def repositories(services: Services, principal: Principal) -> list[RepoView]:
    """Those that the asker may pull from, by kind and name."""
    query = select(repo_table.c.id, repo_table.c.kind, repo_table.c.name, repo_table.c.public)
    with services.index.read() as session:
        rows = session.execute(query.order_by(repo_table.c.kind, repo_table.c.name)).all()
        found = [
            (kind, name, public, {ref: str(digest) for ref, digest in surface.refs(session, number)})
            for number, kind, name, public in rows
        ]
    return [
        RepoView(kind, name, public, live)
        for kind, name, public, live in found
        if public or services.auth.allowed(principal, kind, name, "pull")
    ]


def revisions(services: Services, kind: Kind, name: str, before: int | None, limit: int) -> list[RevisionView]:
    """Newest first. Raises NotFound."""
    repo_id = _repo_id(services, kind, name)
    with services.index.read() as session:
        rows = surface.revisions(session, repo_id, limit=limit, before=before)
    return [
        RevisionView(
            id=one.id,
            digest=str(one.digest),
            files=one.files,
            bytes=one.bytes,
            tree=one.tree.size,
            created=one.created,
            version=one.version,
            kernel=one.boot.kernel if one.boot else None,
            initramfs=one.boot.initramfs if one.boot else None,
        )
        for one in rows
    ]


def delete_ref(services: Services, name: str, ref: str) -> None:
    """Remove a branch at once; its revision stays until it is deleted or collected. Raises NotFound."""
    repo_id = _repo_id(services, "ostree", name)
    with services.index.session() as session:
        refs.remove(session, repo_id, ref)
        ostree_summary.refresh(services, session, repo_id)


def delete_revision(services: Services, kind: Kind, name: str, digest: Digest) -> None:
    """Raises NotFound, or Conflict while a ref points at it."""
    repo_id = _repo_id(services, kind, name)
    with services.index.session() as session:
        guard.exclude(session)
        found = surface.find_revision(session, repo_id, digest)
        if found is None:
            raise NotFound("no such revision", kind=kind, repo=name, digest=str(digest))
        targets = touched(session, repo_id, [found.id])
        if not surface.delete_revision(session, found.id):
            raise Conflict("a ref points at this revision", kind=kind, repo=name, digest=str(digest))
        changed(services, session, targets)


def _repo_id(services: Services, kind: Kind, name: str) -> int:
    with services.index.read() as session:
        found = repo_rows.find_repo(session, kind, name)
    if found is None:
        raise NotFound("no such repository", kind=kind, repo=name[:200])
    return found
