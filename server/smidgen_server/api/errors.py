"""Every error answer of the server, in one of two shapes.

Under /v2/ the body is that of distribution-spec v1.1 ("Error codes"): {"errors": [{"code", "message", "detail"}]}.
Elsewhere it is {"error": {"code", "message", "detail", "advice"}}.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from smidgen_deltas.errors import SmidgenError, Unauthorized
from smidgen_server.api.challenge import challenge

# What a status means where nothing more is known: (OCI error code, message)
_BARE: Final = {
    400: ("UNSUPPORTED", "bad request"),
    404: ("NAME_UNKNOWN", "no such page"),
    405: ("UNSUPPORTED", "method not allowed"),
    413: ("SIZE_INVALID", "too large"),
    429: ("TOOMANYREQUESTS", "too many requests"),
}
RETRY_SECONDS: Final = 5


def error_response(
    path: str, status: int, code: str, message: str, detail: Any, advice: str, headers: dict[str, str] | None = None
) -> Response:
    """The body in the shape that belongs to the path."""
    error = {"code": code, "message": message, "detail": detail}
    body: dict[str, Any] = {"errors": [error]} if is_registry(path) else {"error": {**error, "advice": advice}}
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def is_registry(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def install(app: FastAPI) -> None:
    """Register the handlers. What they do not cover (a fault of ours) is caught by the outermost middleware."""
    app.add_exception_handler(SmidgenError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, SmidgenError)
    headers: dict[str, str] = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = challenge(request, error)
    if error.status == 503 or error.status == 429:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if error.status == 416 and "size" in error.detail:
        headers["Content-Range"] = f"bytes */{error.detail['size']}"
    return error_response(
        request.url.path, error.status, error.code, error.message, error.detail, error.advice(), headers
    )


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _BARE.get(error.status_code, ("UNKNOWN", "request failed"))
    detail = {"reason": error.detail} if error.detail else {}
    headers = dict(error.headers or {})
    advice = "Check the address and method against the documentation."
    return error_response(request.url.path, error.status_code, code, message, detail, advice, headers)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [{"where": [str(part) for part in one["loc"]], "problem": one["msg"]} for one in error.errors()]
    advice = "Correct the named parts of the request."
    return error_response(request.url.path, 400, "UNSUPPORTED", "malformed request", {"problems": problems}, advice)
