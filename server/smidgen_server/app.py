"""The ASGI application: services opened at start and closed at the end, routers, error answers, request edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from smidgen_server.api import errors
from smidgen_server.api.middleware import RequestEdge
from smidgen_server.api.routes import include_all
from smidgen_server.services.container import Services


def create_app(services: Services) -> FastAPI:
    """The application on services that are open; they stay open until after it has ended."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = services.settings.limits.threads
        await run_in_threadpool(services.tasks.start, services)
        try:
            yield
        finally:
            await run_in_threadpool(services.tasks.stop)

    app = FastAPI(
        title="smidgen",
        version=version("smidgen"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
    )
    app.state.services = services
    errors.install(app)
    app.add_middleware(RequestEdge, metrics=services.metrics)
    include_all(app)
    return app
