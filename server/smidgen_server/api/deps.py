"""What endpoints ask for: `services: ServicesDep`, `principal: PrincipalDep`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services


def get_services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def get_principal(request: Request) -> Principal:
    """Runs in the thread pool (it may hash a password). Raises Unauthorized."""
    return get_services(request).auth.authenticate(request.headers)


ServicesDep = Annotated[Services, Depends(get_services)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
