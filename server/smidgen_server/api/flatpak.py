"""/index/static: makes the registry a remote of flatpak, `flatpak remote-add NAME oci+https://HOST`."""

from __future__ import annotations

import json
from typing import Final

from fastapi import APIRouter, Request, Response

from smidgen_deltas.digest import Digest
from smidgen_server.api.blob_response import parts_response
from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.api.routes import read_route

router = APIRouter()
TAG: Final = "latest"  # what flatpak asks for where nothing else is said


@read_route(router, "/index/static")
def get_index(request: Request, services: ServicesDep, principal: PrincipalDep) -> Response:
    """Images by `tag`, `architecture`, `os`, `repository`, `label:NAME`, `label:NAME:exists` and so for annotations."""
    asked = {name: request.query_params.getlist(name) for name in request.query_params}
    tag = asked.pop("tag", [TAG])[0]
    found = services.flatpak.results(services, principal, tag, asked)
    body = json.dumps({"Registry": "/", "Results": found}, ensure_ascii=False).encode()
    etag = Digest.of(body).hex[:32]
    return parts_response(request, services, [body], etag=etag, media_type="application/json", cache="no-cache")
