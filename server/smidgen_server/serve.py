"""Run the server in this process until it is told to stop (SIGTERM, SIGINT): requests under way may finish."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import structlog
import uvicorn

from smidgen_server import logs
from smidgen_server.app import create_app
from smidgen_server.memory import limit_heaps
from smidgen_server.services.container import open_services
from smidgen_server.settings import Settings

KEEP_ALIVE_SECONDS = 75
log = structlog.stdlib.get_logger("smidgen.server")


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket. Returns when everything is closed."""
    limit_heaps()
    logs.configure(settings.log_level, lasting=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with open_services(settings) as services:
        services.blobs.recover()
        app = create_app(services)
        log.info("serving", address=str(listener.getsockname()), data=str(settings.data))
        try:
            uvicorn.Server(uvicorn_config(settings, app)).run(sockets=[listener])
        except SystemExit as end:  # uvicorn repeats the signal that ended it, or could not start
            if end.code:
                raise
    log.info("stopped")


def uvicorn_config(settings: Settings, app: object) -> uvicorn.Config:
    """How uvicorn runs the application: no access log (ours is better), proxies believed only when named."""
    tls = settings.tls
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
    )


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
