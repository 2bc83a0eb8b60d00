"""Path parameters of the registry, and what a request under /v2/ that no route takes has done wrong.

A repository name contains slashes, so it is matched by the grammar itself: `{name:ociname}` takes legal names only
and the rest of the path stays with the route. What falls through is answered by `oci.unrouted`.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.convertors import Convertor, register_url_convertor

from smidgen_server.services.oci_names import NAME

REPOSITORY: Final = "/v2/{name:ociname}"  # below it are all routes of one repository
_ENDPOINT: Final = re.compile(
    r"/v2/(?P<name>.+)/(?:blobs/uploads(?:/[^/]*)?|(?:blobs|manifests|referrers)/[^/]+|tags/list)"
)


class NameConvertor(Convertor[str]):
    """distribution-spec, "Pulling manifests": the grammar of <name>."""

    regex = NAME

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def name_in(path: str) -> str | None:
    """The name in a path that has the form of an endpoint."""
    found = _ENDPOINT.fullmatch(path)
    return found["name"] if found else None


register_url_convertor("ociname", NameConvertor())
