"""/healthz (the process answers), /readyz (database and blob store do too), /metrics (Prometheus)."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from smidgen_deltas.errors import NotFound, SmidgenError
from smidgen_server.api.deps import ServicesDep
from smidgen_server.api.routes import read_route

router = APIRouter()


@read_route(router, "/healthz")
def healthz() -> Response:
    return JSONResponse({"status": "ok"})


@read_route(router, "/readyz")
def readyz(services: ServicesDep) -> Response:
    checks = {"database": services.index.check, "blobs": services.blobs.check}
    found: dict[str, str] = {}
    for name, check in checks.items():
        try:
            check()
            found[name] = "ok"
        except SmidgenError as error:
            found[name] = error.message
    ready = all(state == "ok" for state in found.values())
    return JSONResponse({"status": "ok" if ready else "unavailable", **found}, status_code=200 if ready else 503)


@read_route(router, "/metrics")
def metrics(services: ServicesDep) -> Response:
    if not services.settings.metrics:
        raise NotFound("metrics are turned off")
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
