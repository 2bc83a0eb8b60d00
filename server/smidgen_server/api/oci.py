"""The registry: distribution-spec v1.1 and what its next version adds. Routes in the order they are tried.

`blobs/uploads` comes before `blobs/<digest>`, and last comes what answers requests under /v2/ that nothing else takes.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from smidgen_server.api import oci_blobs, oci_listings, oci_manifests, oci_uploads
from smidgen_server.api.oci_paths import name_in
from smidgen_server.services.oci_names import check_name

PARTS: Final = (oci_uploads, oci_blobs, oci_manifests, oci_listings)
METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

router = APIRouter()
for part in PARTS:
    router.include_router(part.router)


@router.api_route("/v2/{rest:path}", methods=METHODS, include_in_schema=False)
def unrouted(request: Request) -> None:
    """405 for the wrong method, 400 for an illegal name, 404 for anything else."""
    routes = (route for part in PARTS for route in part.router.routes)
    allowed = sorted({method for route in routes for method in _methods(route, request)})
    if allowed:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
    if (name := name_in(request.url.path)) is not None:
        check_name(name)
    raise HTTPException(404)


def _methods(route: BaseRoute, request: Request) -> set[str]:
    """What a route accepts, if only the method is wrong."""
    match, _ = route.matches(request.scope)
    methods: set[str] | None = getattr(route, "methods", None)
    return methods or set() if match is Match.PARTIAL else set()
