"""Publishing ostree commits over HTTP: ask what is missing, send it, set the ref; or let the server mirror a remote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from smidgen_deltas.errors import UsageError
from smidgen_deltas.ostree.refs import check_ref, is_checksum
from smidgen_server.api.blob_response import OCTETS
from smidgen_server.api.body import BodyReader, drain, in_body_thread
from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.services import mirror, publish_ostree, push_ostree
from smidgen_server.services.repo_names import check_repo

router = APIRouter()
BASE: Final = "/api/v1/ostree/{repo}"


class RefTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MirrorRequest(BaseModel):
    """`refs` empty: all that the remote's summary lists."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2000)]
    refs: Annotated[list[str], Field(max_length=10000)] = []


def may_push(services: ServicesDep, principal: PrincipalDep, repo: str) -> str:
    """Dependency of every route here: the name of the repository, once the asker may push to it."""
    services.auth.require(principal, "ostree", check_repo(repo), "push")
    return repo


def may_mirror(services: ServicesDep, principal: PrincipalDep, repo: str) -> str:
    """As `may_push`, for administrators: mirroring makes the server fetch from an address of the asker's choice."""
    services.auth.require(principal, "ostree", check_repo(repo), "admin")
    return repo


Pushed = Annotated[str, Depends(may_push)]
Mirrored = Annotated[str, Depends(may_mirror)]


@router.post(f"{BASE}/missing")
async def missing(request: Request, services: ServicesDep, repo: Pushed) -> Response:
    """33-byte names in, those that the repository lacks out."""
    names = bytearray()
    await drain(request, names.extend, limit=push_ostree.MAX_NAME_BYTES)

    def answer() -> bytes:
        return push_ostree.missing(services, publish_ostree.ensure_repo(services, repo), bytes(names))

    return Response(await run_in_threadpool(answer), media_type=OCTETS)


@router.post(f"{BASE}/objects")
async def objects(request: Request, services: ServicesDep, repo: Pushed) -> Mapping[str, int]:
    """Records of name, length, object."""

    def receive(body: BodyReader) -> int:
        return push_ostree.receive(services, publish_ostree.ensure_repo(services, repo), body)

    return {"stored": await in_body_thread(request, receive, limit=services.settings.limits.blob_bytes)}


@router.put(f"{BASE}/commitmeta/{{commit}}", status_code=204)
async def commitmeta(request: Request, services: ServicesDep, repo: Pushed, commit: str) -> None:
    if not is_checksum(commit):
        raise UsageError("not the checksum of a commit", commit=commit[:100])
    body = bytearray()
    await drain(request, body.extend, limit=services.settings.limits.metadata_bytes)

    def store() -> None:
        repo_id = publish_ostree.ensure_repo(services, repo)
        push_ostree.set_detached(services, repo_id, bytes.fromhex(commit), bytes(body))

    await run_in_threadpool(store)


@router.put(f"{BASE}/refs/{{ref:path}}", status_code=202)
def set_ref(services: ServicesDep, repo: Pushed, ref: str, target: Annotated[RefTarget, Body()]) -> Mapping[str, Any]:
    """Queue the switch; the task checks the closure, builds the surface and sets the ref last."""
    return {"task": publish_ostree.submit_ref(services, repo, check_ref(ref), bytes.fromhex(target.commit))}


@router.post(f"{BASE}/mirror", status_code=202)
def start_mirror(services: ServicesDep, repo: Mirrored, wish: Annotated[MirrorRequest, Body()]) -> Mapping[str, Any]:
    refs = tuple(check_ref(ref) for ref in wish.refs)
    return {"task": mirror.submit(services, repo, wish.url, refs)}
