"""How routes are declared, and which modules have them.

A FastAPI GET route answers HEAD with 405; every readable route is therefore declared through `read_route`, and a test
walks all routes to see that HEAD is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Final, TypeVar

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute, Route

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

# In this order: the first route that matches answers. `ostree` is first because a pull is tens of thousands of
# requests, and every route that is tried before costs some microseconds of each.
MODULES: Final = ("ostree", "health", "auth", "oci", "admin", "jobs", "surface", "flatpak", "ostree_write")


def read_route(router: APIRouter, path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Decorator for a route that answers GET and HEAD. The server drops the body of a HEAD answer."""

    def declare(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=["GET"], response_model=None, **options)
        hidden = {**options, "include_in_schema": False}  # one route for both would be listed twice under one id
        router.add_api_route(path, endpoint, methods=["HEAD"], response_model=None, **hidden)
        return endpoint

    return declare


def all_routes(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Every route with a path and methods, those of included routers too."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from all_routes(inner.routes)


def include_all(app: FastAPI) -> None:
    """Register the routers of all modules."""
    for name in MODULES:
        app.include_router(import_module(f"smidgen_server.api.{name}").router)
