"""The registry's login: GET /v2/ (probe), GET and POST /v2/token (docker's protocol), and who may read a repository.

Clients probe /v2/, read the challenge, ask /v2/token with Basic credentials (or without, for a token that gives what
anyone has) and repeat the request with the token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from smidgen_deltas.errors import LimitExceeded, Unauthorized, UsageError
from smidgen_server.api.deps import PrincipalDep, ServicesDep, get_services
from smidgen_server.api.routes import read_route
from smidgen_server.index.repos import ensure_repo, set_public
from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services

MAX_FORM: Final = 16 << 10
MAX_SCOPES: Final = 32
router = APIRouter()


class Visibility(BaseModel):
    model_config = ConfigDict(extra="forbid")

    public: bool


@read_route(router, "/v2/")
def probe(principal: PrincipalDep, services: ServicesDep) -> Response:
    """Asks for a login unless there is nothing that a login would be needed for."""
    if principal.via == "anonymous" and not services.settings.auth.anonymous_push:
        raise Unauthorized("log in, or ask for an anonymous token")
    return JSONResponse({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})


@read_route(router, "/v2/token")
def get_token(
    principal: PrincipalDep, services: ServicesDep, scope: Annotated[list[str] | None, Query()] = None
) -> Response:
    return _issue(services, principal, scope or [])


@router.post("/v2/token")
async def post_token(request: Request) -> Response:
    """OAuth 2 password grant (RFC 6749 section 4.3), which containerd tries first."""
    form = parse_qs((await _small_body(request)).decode("utf-8", "replace"), max_num_fields=MAX_SCOPES + 16)
    if form.get("grant_type") != ["password"]:
        raise UsageError("unsupported grant type", grant_type=form.get("grant_type"))
    services = get_services(request)
    user, password = form.get("username", [""])[0], form.get("password", [""])[0]
    principal = await run_in_threadpool(services.auth.login, user, password)
    return await run_in_threadpool(_issue, services, principal, form.get("scope", []))


@router.put("/api/v1/repos/{kind}/{name:path}", status_code=204)
def put_visibility(
    kind: Literal["oci", "ostree"], name: str, body: Visibility, principal: PrincipalDep, services: ServicesDep
) -> Response:
    """Say whether anyone may read a repository; makes it when it is not there yet."""
    services.auth.require(principal, kind, name, "admin")
    with services.index.session() as session:
        ensure_repo(session, kind, name, public=body.public)
        set_public(session, kind, name, public=body.public)
    return Response(status_code=204)


def _issue(services: Services, principal: Principal, scopes: list[str]) -> Response:
    wanted = [one for scope in scopes for one in scope.split(" ") if one]
    if len(wanted) > MAX_SCOPES:
        raise LimitExceeded("too many scopes", limit=MAX_SCOPES)
    token, claims = services.auth.issue(principal, wanted)
    issued = datetime.fromtimestamp(claims.issued, UTC).isoformat().replace("+00:00", "Z")
    body = {"token": token, "access_token": token, "expires_in": claims.expires - claims.issued, "issued_at": issued}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise LimitExceeded("the form is too large", limit=MAX_FORM)
    return body
