"""The ASGI application: services opened at start and closed at the end, routers, error answers, request edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from smidgen_deltas.errors import SmidgenError
from smidgen_server.api import errors
from smidgen_server.api.middleware import RequestEdge
from smidgen_server.api.routes import include_all
from smidgen_server.services.container import Services
from smidgen_server.services.task_kinds import HANDLERS, subscribe

TIDY_SECONDS: Final = 900
log = structlog.stdlib.get_logger("smidgen.server")


def create_app(services: Services) -> FastAPI:
    """The application on services that are open; they stay open until after it has ended."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = services.settings.limits.threads
        await run_in_threadpool(services.tasks.start, services, HANDLERS)
        await run_in_threadpool(services.jobs.start, services)
        tidying = asyncio.create_task(_tidy(services))
        try:
            yield
        finally:
            tidying.cancel()
            await run_in_threadpool(services.jobs.stop)
            await run_in_threadpool(services.tasks.stop)

    subscribe(services)
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


async def _tidy(services: Services) -> None:
    """Drop uploads that were left, now and then, until cancelled."""
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            dropped = await run_in_threadpool(services.uploads.expire)
        except SmidgenError as error:
            log.warning("uploads could not be tidied", reason=str(error))
        else:
            log.debug("uploads tidied", dropped=dropped)
