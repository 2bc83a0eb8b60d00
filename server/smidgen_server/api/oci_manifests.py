"""Manifests: GET, HEAD, PUT and DELETE of /v2/<name>/manifests/<tag-or-digest> (end-3, 7, 9)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from smidgen_deltas.digest import Digest
from smidgen_server.api.body import drain
from smidgen_server.api.oci_asker import Deleter, Puller, Pusher
from smidgen_server.api.oci_paths import REPOSITORY
from smidgen_server.api.ranges import unchanged
from smidgen_server.api.routes import read_route
from smidgen_server.services import oci_manifests
from smidgen_server.services.oci_errors import ManifestUnknown, TagInvalid
from smidgen_server.services.oci_names import check_tag, parse_reference

router = APIRouter()
PATH: Final = REPOSITORY + "/manifests/{reference}"
TAGS_PER_HEADER: Final = 10


@read_route(router, PATH)
def get_manifest(request: Request, asker: Puller, reference: str) -> Response:
    """The bytes and the type that were pushed, whatever the client says it accepts."""
    try:
        wanted = parse_reference(reference)
    except TagInvalid:  # nothing can have that name
        raise ManifestUnknown("not a tag", repo=asker.name, reference=reference[:200]) from None
    found = oci_manifests.find(asker.services, asker.name, wanted)
    headers = {"Docker-Content-Digest": found.digest, "ETag": f'"{found.digest}"', "Cache-Control": "no-cache"}
    if unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(found.size), "Content-Type": found.media_type})
    body = oci_manifests.read(asker.services, found)
    return Response(body, headers={**headers, "Content-Type": found.media_type})


@router.put(PATH)
async def put_manifest(
    request: Request, asker: Pusher, reference: str, tag: Annotated[list[str] | None, Query()] = None
) -> Response:
    """Store a manifest by digest or by tag; with `tag` parameters also under those (end-7b)."""
    wanted = parse_reference(reference)
    tags = tuple(dict.fromkeys(check_tag(one) for one in tag or ()))
    body = bytearray()
    await drain(request, body.extend, limit=asker.services.settings.limits.manifest_bytes)
    given = oci_manifests.Given(bytes(body), request.headers.get("content-type"))
    pushed = await run_in_threadpool(oci_manifests.put, asker.services, asker.name, wanted, tags, given)
    location = f"/v2/{asker.name}/manifests/{pushed.digest}"
    response = Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": str(pushed.digest)})
    if pushed.subject:
        response.headers["OCI-Subject"] = pushed.subject
    for start in range(0, len(tags), TAGS_PER_HEADER):
        response.headers.append("OCI-Tag", ", ".join(tags[start : start + TAGS_PER_HEADER]))
    return response


@router.delete(PATH)
def delete_manifest(asker: Deleter, reference: str) -> Response:
    """By digest: the manifest and its tags. By tag: the tag alone."""
    wanted = parse_reference(reference)
    if isinstance(wanted, Digest):
        oci_manifests.delete_manifest(asker.services, asker.name, wanted)
    else:
        oci_manifests.delete_tag(asker.services, asker.name, wanted)
    return Response(status_code=202)
