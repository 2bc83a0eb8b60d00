"""Who asks for which repository: the dependency of every route below /v2/<name>/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from smidgen_deltas.digest import Digest
from smidgen_server.api.deps import get_principal, get_services
from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services
from smidgen_server.services.oci_names import check_name
from smidgen_server.settings import Action


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who may do on the repository `name` what the route does."""

    services: Services
    principal: Principal
    name: str

    def may(self, action: Action) -> bool:
        """Whether they may do something else there, too."""
        return self.services.auth.allowed(self.principal, "oci", self.name, action)

    def blob_location(self, digest: Digest) -> str:
        return f"/v2/{self.name}/blobs/{digest}"

    def upload_location(self, upload: str) -> str:
        return f"/v2/{self.name}/blobs/uploads/{upload}"


def asker(action: Action) -> Callable[..., Asker]:
    """A dependency that raises NameInvalid, Unauthorized or Denied. One hop to the thread pool does it all."""

    def admit(request: Request, name: str) -> Asker:
        check_name(name)
        services = get_services(request)
        principal = get_principal(request)
        services.auth.require(principal, "oci", name, action)
        return Asker(services, principal, name)

    return admit


Puller = Annotated[Asker, Depends(asker("pull"))]
Pusher = Annotated[Asker, Depends(asker("push"))]
Deleter = Annotated[Asker, Depends(asker("delete"))]
