"""Blobs: GET, HEAD and DELETE of /v2/<name>/blobs/<digest> (end-2, 10)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from smidgen_deltas.digest import Digest
from smidgen_server.api.blob_response import blob_response
from smidgen_server.api.oci_asker import Deleter, Puller
from smidgen_server.api.oci_paths import REPOSITORY
from smidgen_server.api.routes import read_route
from smidgen_server.services import oci_blobs
from smidgen_server.services.delta_uses import begins

router = APIRouter()
PATH: Final = REPOSITORY + "/blobs/{digest}"


@read_route(router, PATH)
def get_blob(request: Request, asker: Puller, digest: str) -> Response:
    wanted = Digest.parse(digest)
    found = oci_blobs.find(asker.services, asker.name, wanted)
    if request.method == "HEAD" and asker.may("push"):
        oci_blobs.touch(asker.services, found)
    if request.method == "GET" and begins(request.headers.get("range")):
        asker.services.jobs.uses.add(wanted)
    return blob_response(request, asker.services, wanted, headers={"Docker-Content-Digest": str(wanted)})


@router.delete(PATH)
def delete_blob(asker: Deleter, digest: str) -> Response:
    oci_blobs.remove(asker.services, asker.name, Digest.parse(digest))
    return Response(status_code=202)
