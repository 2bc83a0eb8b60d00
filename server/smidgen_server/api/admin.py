"""The admin API: tasks, repositories, refs, revisions, garbage collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.api.routes import read_route
from smidgen_server.index.tasks import TaskRow
from smidgen_server.services import collect, overview
from smidgen_server.services.auth import Kind

router = APIRouter(prefix="/api/v1")
States = Annotated[list[Literal["queued", "running", "done", "failed"]], Query()]
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(ge=1)]


class Collection(BaseModel):
    """`grace` seconds and `keep` revisions; the settings' values by default."""

    model_config = ConfigDict(extra="forbid")
    grace: Annotated[int | None, Field(ge=0)] = None
    keep: Annotated[int | None, Field(ge=0)] = None


def shown(row: TaskRow) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "payload"}


@read_route(router, "/tasks/{number}")
def task(services: ServicesDep, principal: PrincipalDep, number: int) -> Mapping[str, Any]:
    """A task is shown to those who may push where it works: they began it."""
    found = services.tasks.find(number)
    if found is None:
        raise NotFound("no such task", task=number)
    overview.require_lane(services, principal, found.lane)
    return shown(found)


@read_route(router, "/tasks")
def tasks(
    services: ServicesDep,
    principal: PrincipalDep,
    state: States = [],  # noqa: B006 - FastAPI copies it
    before: Before = None,
    limit: Limit = 100,
) -> Mapping[str, Any]:
    """Newest first; `before` is the id to go on from."""
    overview.require_admin(services, principal)
    return {"tasks": [shown(row) for row in services.tasks.listing(tuple(state), before, limit)]}


@read_route(router, "/repos")
def repos(services: ServicesDep, principal: PrincipalDep) -> Mapping[str, Any]:
    """Repositories that the asker may read, with their refs."""
    return {"repos": [asdict(one) for one in overview.repositories(services, principal)]}


@read_route(router, "/revisions/{kind}/{repo:path}")
def revisions(
    services: ServicesDep, principal: PrincipalDep, kind: Kind, repo: str, before: Before = None, limit: Limit = 100
) -> Mapping[str, Any]:
    """Newest first; `before` is the id to go on from."""
    services.auth.require(principal, kind, repo, "pull")
    return {"revisions": [asdict(one) for one in overview.revisions(services, kind, repo, before, limit)]}


@router.delete("/refs/ostree/{repo}/{ref:path}", status_code=204)
def delete_ref(services: ServicesDep, principal: PrincipalDep, repo: str, ref: str) -> None:
    """Tags of images are deleted through the registry."""
    services.auth.require(principal, "ostree", repo, "delete")
    overview.delete_ref(services, repo, ref)


@router.delete("/revisions/{kind}/{repo:path}", status_code=204)
def delete_revision(services: ServicesDep, principal: PrincipalDep, kind: Kind, repo: str, digest: str) -> None:
    """Refused while a ref points at it."""
    services.auth.require(principal, kind, repo, "delete")
    overview.delete_revision(services, kind, repo, Digest.parse(digest))


@router.post("/gc", status_code=202)
def gc(
    services: ServicesDep,
    principal: PrincipalDep,
    wish: Annotated[Collection, Body()] = Collection(),  # noqa: B008
) -> Mapping[str, Any]:
    overview.require_admin(services, principal)
    return {"task": collect.submit(services, grace=wish.grace, keep=wish.keep)}
