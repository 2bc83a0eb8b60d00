"""Structured logs: one JSON object per line on stderr; the standard library's loggers go the same way.

Our own events take structlog's short path, without the standard library: a pull makes tens of thousands of requests,
and each one is a line (the long path costs about 0.1 ms of every request).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, WrappedLogger

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


class NamedLogger(structlog.WriteLogger):
    """Writes to stderr; keeps the name that `get_logger` was given."""

    def __init__(self, name: str = "smidgen") -> None:
        super().__init__(sys.stderr)
        self.name = name


def configure(level: str, *, lasting: bool = False) -> None:
    """Set up the process's logging. Called once, by the command that the process runs.

    Args:
        lasting: each module makes its logger once and keeps it: quicker, and deaf to a later change of this or of
            stderr. For a process that is the server and nothing else.
    """
    structlog.configure(
        processors=[*_SHARED, _add_name, structlog.processors.JSONRenderer()],
        logger_factory=NamedLogger,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=lasting,
    )
    _configure_others(_LEVELS[level])


def _configure_others(level: int) -> None:
    """uvicorn, alembic and whoever else uses the standard library's logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.error").addFilter(_no_upgrade_noise)
    for name in ("alembic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, level))


def _no_upgrade_noise(record: logging.LogRecord) -> bool:
    """libcurl offers HTTP/2 with every plain request, and uvicorn would warn of each one."""
    message = str(record.msg)
    return not message.startswith(("Unsupported upgrade request", "No supported WebSocket library"))


def _add_name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event
