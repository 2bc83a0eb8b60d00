"""The admin API of builds and delta policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.api.routes import read_route
from smidgen_server.services import delta_policy, jobs_orders, jobs_view, overview
from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services
from smidgen_server.settings import DeltaPolicy

router = APIRouter(prefix="/api/v1")
State = Literal["waiting", "building", "ready", "useless", "failed", "evicted", "cancelled"]
States = Annotated[list[State], Query()]
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=600)]


class Order(BaseModel):
    """A delta that somebody wants: `source` "" means from nothing."""

    model_config = ConfigDict(extra="forbid")
    repo: Name
    source: Annotated[str, Field(max_length=600)]
    target: Name


@read_route(router, "/jobs")
def jobs(
    services: ServicesDep,
    principal: PrincipalDep,
    state: States = [],  # noqa: B006 - FastAPI copies it
    before: Before = None,
    limit: Limit = 100,
) -> Mapping[str, Any]:
    """Newest first; `before` is the id to go on from. `counts` are of all, by state."""
    overview.require_admin(services, principal)
    with services.index.read() as session:
        found = jobs_view.listing(session, state, before, limit)
        return {"jobs": [asdict(one) for one in found], "counts": jobs_view.counts(session)}


@read_route(router, "/jobs/{number}")
def job(services: ServicesDep, principal: PrincipalDep, number: int) -> Mapping[str, Any]:
    """A job is shown to those who may push to its repository."""
    return _shown(services, principal, number)


@router.post("/jobs", status_code=202)
def order(services: ServicesDep, principal: PrincipalDep, wish: Annotated[Order, Body()]) -> Mapping[str, Any]:
    """Want a delta that no policy asks for."""
    overview.require_admin(services, principal)
    with services.index.session() as session:
        numbers = jobs_orders.order(session, services.settings.deltas, wish.repo, wish.source, wish.target)
    services.jobs.wake()
    return {"jobs": numbers}


@router.post("/jobs/{number}/cancel")
def cancel(services: ServicesDep, principal: PrincipalDep, number: int) -> Mapping[str, Any]:
    _shown(services, principal, number)
    with services.index.session() as session:
        jobs_orders.cancel(session, number)
    return _shown(services, principal, number)


@router.post("/jobs/{number}/retry")
def retry(services: ServicesDep, principal: PrincipalDep, number: int) -> Mapping[str, Any]:
    _shown(services, principal, number)
    with services.index.session() as session:
        jobs_orders.retry(session, number)
    services.jobs.wake()
    return _shown(services, principal, number)


@read_route(router, "/delta-policies")
def policies(services: ServicesDep, principal: PrincipalDep) -> Mapping[str, Any]:
    """Those that were set here, and those of the settings file."""
    overview.require_admin(services, principal)
    with services.index.read() as session:
        stored = delta_policy.stored(session)
    shown = {"policies": stored, "settings": services.settings.deltas.policies}
    return {name: [one.model_dump(exclude_none=True) for one in found] for name, found in shown.items()}


@router.put("/delta-policies", status_code=204)
def set_policy(services: ServicesDep, principal: PrincipalDep, policy: Annotated[DeltaPolicy, Body()]) -> None:
    """Set the rule for the patterns `repos` and `refs`, in place of the one before."""
    overview.require_admin(services, principal)
    with services.index.session() as session:
        jobs_orders.set_policy(session, services.settings.deltas, policy)
    services.jobs.wake()


@router.delete("/delta-policies", status_code=204)
def remove_policy(services: ServicesDep, principal: PrincipalDep, repos: str = "*", refs: str = "*") -> None:
    overview.require_admin(services, principal)
    with services.index.session() as session:
        jobs_orders.remove_policy(session, repos, refs)


def _shown(services: Services, principal: Principal, number: int) -> Mapping[str, Any]:
    with services.index.read() as session:
        found = jobs_view.find(session, number)
    overview.require_lane(services, principal, found.repo)
    return asdict(found)
