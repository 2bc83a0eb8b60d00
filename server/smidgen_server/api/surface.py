"""The update surface of our own client: signed ref documents (small, mutable), everything else immutable."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.refdoc import encode_keys
from smidgen_server.api.blob_response import blob_response, parts_response
from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.api.routes import read_route
from smidgen_server.services import delta_demand, refs
from smidgen_server.services.delta_uses import begins
from smidgen_server.services.surface_read import check_blob, parse_delta_path, parse_ref_path

router = APIRouter()
REF_SECONDS: Final = 30  # how long a cache may hand out a mutable document
JSON: Final = "application/json"


@read_route(router, "/u/refs/{kind}/{path:path}")
def ref_document(request: Request, services: ServicesDep, principal: PrincipalDep, kind: str, path: str) -> Response:
    name = parse_ref_path(kind, path)
    services.auth.require(principal, name.kind, name.repo, "pull")
    return _mutable(request, services, refs.document(services, name), REF_SECONDS)


@read_route(router, "/u/deltas/{kind}/{path:path}")
def wanted_delta(request: Request, services: ServicesDep, principal: PrincipalDep, kind: str, path: str) -> Response:
    """The ref document that offers the delta from the revision at the end of the path; 202 until it is made."""
    name, source = parse_delta_path(kind, path)
    services.auth.require(principal, name.kind, name.repo, "pull")
    answer = delta_demand.ask(services, name, source)
    if answer.ready:
        return _mutable(request, services, refs.document(services, name), REF_SECONDS)
    headers = {"Retry-After": str(answer.seconds), "Cache-Control": "no-store"}
    shown = {"state": answer.state, "done": answer.done, "total": answer.total}
    return JSONResponse(shown, status_code=202, headers=headers)


@read_route(router, "/u/keys.json")
def public_keys(request: Request, services: ServicesDep) -> Response:
    return _mutable(request, services, encode_keys(services.keys.public()), REF_SECONDS)


@read_route(router, "/u/blobs/{name}")
def surface_blob(request: Request, services: ServicesDep, principal: PrincipalDep, name: str) -> Response:
    digest = Digest.parse(f"sha256:{name}")
    check_blob(services, principal, digest)
    if request.method == "GET" and begins(request.headers.get("range")):
        services.jobs.uses.add(digest)
    return blob_response(request, services, digest)


def _mutable(request: Request, services: ServicesDep, body: bytes, seconds: int) -> Response:
    shared = "private" if "authorization" in request.headers else "public"
    return parts_response(
        request,
        services,
        [body],
        etag=Digest.of(body).hex[:32],
        media_type=JSON,
        cache=f"{shared}, max-age={seconds}, must-revalidate",
    )
