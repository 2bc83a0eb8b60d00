"""Rows of `repo`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from smidgen_deltas.errors import NotFound
from smidgen_server.index.base import insert_ignore
from smidgen_server.index.tables.core import repo


@dataclass(frozen=True, slots=True)
class RepoRow:
    """kind: "ostree" or "oci"; public: anyone may read it."""

    id: int
    kind: str
    name: str
    public: bool


def listing(session: Session) -> list[RepoRow]:
    """All repositories, by kind and name."""
    query = select(repo.c.id, repo.c.kind, repo.c.name, repo.c.public).order_by(repo.c.kind, repo.c.name)
    return [RepoRow(*row) for row in session.execute(query)]


def find_repo(session: Session, kind: str, name: str) -> int | None:
    """The id of a repository, None where there is none."""
    return session.scalar(select(repo.c.id).where(repo.c.kind == kind, repo.c.name == name))


def ensure_repo(session: Session, kind: str, name: str, *, public: bool) -> int:
    """The id of a repository, made now if need be; `public` is used only then."""
    found = find_repo(session, kind, name)
    if found is None:
        insert_ignore(session, repo, [{"kind": kind, "name": name, "public": public}])
        found = find_repo(session, kind, name)
    assert found is not None
    return found


def is_public(session: Session, kind: str, name: str) -> bool | None:
    """Whether anyone may read it; None where there is no such repository."""
    return session.scalar(select(repo.c.public).where(repo.c.kind == kind, repo.c.name == name))


def set_public(session: Session, kind: str, name: str, *, public: bool) -> None:
    """Raises NotFound."""
    where = (repo.c.kind == kind) & (repo.c.name == name)
    if session.execute(update(repo).where(where).values(public=public)).rowcount == 0:  # type: ignore[attr-defined]
        raise NotFound("no such repository", kind=kind, repo=name)
