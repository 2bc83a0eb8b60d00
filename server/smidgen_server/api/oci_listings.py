"""Listings: /v2/_catalog, /v2/<name>/tags/list (end-8), /v2/<name>/referrers/<digest> (end-12)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.media import OCI_INDEX
from smidgen_server.api.deps import PrincipalDep, ServicesDep
from smidgen_server.api.oci_asker import Puller
from smidgen_server.api.oci_paths import REPOSITORY
from smidgen_server.api.routes import read_route
from smidgen_server.services import oci_listings
from smidgen_server.services.oci_errors import PageInvalid

router = APIRouter()
Count = Annotated[str | None, Query(alias="n")]
Last = Annotated[str, Query()]
ArtifactType = Annotated[str | None, Query(alias="artifactType")]


@read_route(router, "/v2/_catalog")
def get_catalog(services: ServicesDep, principal: PrincipalDep, n: Count = None, last: Last = "") -> Response:
    """Not in the specification, but asked for by tools: the repositories that the asker may pull from."""
    page = oci_listings.repositories(services, principal, entries(n), last)
    return answer({"repositories": list(page.names)}, "/v2/_catalog", page.last, n=n)


@read_route(router, REPOSITORY + "/tags/list")
def get_tags(asker: Puller, n: Count = None, last: Last = "") -> Response:
    page = oci_listings.tags(asker.services, asker.name, entries(n), last)
    return answer({"name": asker.name, "tags": list(page.names)}, f"/v2/{asker.name}/tags/list", page.last, n=n)


@read_route(router, REPOSITORY + "/referrers/{digest}")
def get_referrers(
    asker: Puller,
    digest: str,
    last: Last = "",
    artifact_type: Annotated[str | None, Query(alias="artifactType")] = None,
) -> Response:
    """An index, empty for what nobody refers to; never 404."""
    subject = Digest.parse(digest)
    page = oci_listings.referrers(asker.services, asker.name, subject, artifact_type or None, last)
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(page.manifests)}
    path = f"/v2/{asker.name}/referrers/{subject}"
    response = answer(body, path, page.last, artifactType=artifact_type or None)
    response.headers["Content-Type"] = OCI_INDEX
    if artifact_type:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def entries(text: str | None) -> int | None:
    """`n` as a number. Raises PageInvalid."""
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise PageInvalid("n must be a number of entries", given=text[:40])
    return int(text)


def answer(body: dict[str, Any], path: str, last: str | None, **parameters: str | None) -> Response:
    """One page, with a Link to the next (RFC 5988) if there is one."""
    response = JSONResponse(body, headers={"Cache-Control": "no-cache"})
    if last is not None:
        query = urlencode({**{key: value for key, value in parameters.items() if value is not None}, "last": last})
        response.headers["Link"] = f'<{path}?{query}>; rel="next"'
    return response
