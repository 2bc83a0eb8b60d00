"""WWW-Authenticate: how a client learns what to log in with (RFC 9110 section 11.6.1, RFC 6750 section 3)."""

from __future__ import annotations

from fastapi import Request

from smidgen_deltas.errors import Unauthorized
from smidgen_server.services.container import Services

_SCOPE_ACTIONS = {"pull": "pull", "push": "pull,push", "delete": "delete"}


def public_base(request: Request, services: Services) -> str:
    """Scheme and authority of the server as the client sees it, without a slash at the end."""
    return services.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


def challenge(request: Request, error: Unauthorized) -> str:
    """Bearer with realm, service and scope for the registry; Basic elsewhere (tokens work as password)."""
    services: Services = request.app.state.services
    service = services.settings.auth.service
    path = request.url.path
    if path != "/v2" and not path.startswith("/v2/") or path == "/v2/token":
        return f'Basic realm="{service}"'
    parts = [f'realm="{public_base(request, services)}/v2/token"', f'service="{service}"']
    detail = error.detail
    if detail.get("kind") == "oci" and detail.get("action") in _SCOPE_ACTIONS:
        parts.append(f'scope="repository:{detail["repo"]}:{_SCOPE_ACTIONS[detail["action"]]}"')
    if detail.get("via") == "bearer":
        parts.append('error="insufficient_scope"')
    return "Bearer " + ",".join(parts)
