"""Repositories as stock ostree clients read them: /ostree/<repo>/..., and /repo/... for the default repository.

GET and HEAD only, never content-encoded; "not there" is 404. These routes are plain ASGI: a pull makes tens of
thousands of small requests, and FastAPI's machinery would be most of the work. Publishing is in `ostree_write`.
"""

from __future__ import annotations

import re
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown, NotFound
from smidgen_deltas.ostree.objects import ObjectType
from smidgen_server.api.blob_response import FOREVER, OCTETS, Part, Span, blob_response, parts_response
from smidgen_server.api.conditional import http_date, not_modified_since
from smidgen_server.blobs.spans import SmallSpans
from smidgen_server.index import ostree as rows
from smidgen_server.index.ostree import Servable
from smidgen_server.services.container import Services
from smidgen_server.services.filez import filez_pieces
from smidgen_server.services.ostree_files import delta_index, small_file, stored_file
from smidgen_server.services.ostree_read import RepoRow

METHODS: Final = ("GET", "HEAD")
REVALIDATE: Final = "no-cache"  # small and mutable: summary and signature must never be seen apart for long
OBJECT: Final = re.compile(r"objects/([0-9a-f]{2})/([0-9a-f]{62})\.(filez|dirtree|dirmeta|commit|commitmeta)\Z")
SPECIAL: Final = frozenset({b"authorization", b"if-none-match", b"if-range", b"range"})
FIXED: Final = (
    (b"content-type", OCTETS.encode()),
    (b"accept-ranges", b"bytes"),
    (b"cache-control", f"public, {FOREVER}".encode()),
)
RawHeaders = list[tuple[bytes, bytes]]
TYPES: Final = {
    "filez": ObjectType.FILE,
    "dirtree": ObjectType.DIRTREE,
    "dirmeta": ObjectType.DIRMETA,
    "commit": ObjectType.COMMIT,
}


class OstreeRepo:
    """Answers everything below one repository; the name is a path parameter, or the default repository's."""

    def __init__(self) -> None:
        self._spans: SmallSpans | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._at_once(scope)
        if found is None:
            response = await run_in_threadpool(_answer, Request(scope, receive))
            await response(scope, receive, send)
            return
        headers, body = found
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _at_once(self, scope: Scope) -> tuple[RawHeaders, bytes] | None:
        """Headers and body, where neither the database nor another thread is needed: the usual case of a pull."""
        match = OBJECT.match(scope["path_params"]["path"])
        # A dirtree goes to a thread even if it is known: what it names is looked up there, before it is asked for.
        if match is None or scope["method"] != "GET" or match[3] not in ("filez", "dirmeta"):
            return None
        if any(name in SPECIAL for name, _ in scope["headers"]):
            return None
        services: Services = scope["app"].state.services
        repo = scope["path_params"].get("repo") or services.settings.default_ostree_repo
        checksum = match[1] + match[2]
        found = services.ostree.known(repo, (TYPES[match[3]], bytes.fromhex(checksum))) if repo else None
        body = self._body(services, found) if found is not None else None
        if body is None:
            return None
        etag = f'"{checksum}.{match[3]}"'.encode()
        return [*FIXED, (b"etag", etag), (b"content-length", b"%d" % len(body))], body

    def _body(self, services: Services, found: Servable) -> bytes | None:
        if found.body is not None:
            return found.body
        if self._spans is None:
            self._spans = SmallSpans(services.blobs)
        pieces = [
            part if isinstance(part, bytes) else self._spans.read(part.digest, part.start, part.length)
            for part in _parts(found)
        ]
        return None if None in pieces else b"".join(piece for piece in pieces if piece is not None)


def _answer(request: Request) -> Response:
    services: Services = request.app.state.services
    name = request.path_params.get("repo") or services.settings.default_ostree_repo
    if name is None:
        raise NotFound("this server has no default repository")
    repo = _authorized(request, services, name)
    path = request.path_params["path"]
    if match := OBJECT.match(path):
        return _object(request, services, repo, bytes.fromhex(match[1] + match[2]), match[3])
    return _other(request, services, repo, path)


def _authorized(request: Request, services: Services, name: str) -> RepoRow:
    repo = services.ostree.repo(name)
    if repo is None or not repo.public:
        principal = services.auth.authenticate(request.headers)
        services.auth.require(principal, "ostree", name, "pull")
    if repo is None:
        raise NotFound("no such repository", repo=name[:200])
    return repo


def _object(request: Request, services: Services, repo: RepoRow, checksum: bytes, kind: str) -> Response:
    if kind == "commitmeta":
        with services.index.read() as session:
            body = rows.detached(session, repo.id, checksum)
        return _small(request, services, body, 0)
    name = (TYPES[kind], checksum)
    for _ in range(2):
        found = services.ostree.object(repo.id, name)
        if found is None:
            break
        try:
            return parts_response(request, services, _parts(found), etag=f"{checksum.hex()}.{kind}")
        except BlobUnknown:
            services.ostree.forget(repo.id, name)
    raise NotFound("no such object", checksum=checksum.hex(), type=kind)


def _parts(found: Servable) -> list[Part]:
    if found.body is not None:
        return [found.body]
    pieces = filez_pieces(found)
    return [one if isinstance(one, bytes) else Span(one.blob, one.start, one.length) for one in pieces]


def _other(request: Request, services: Services, repo: RepoRow, path: str) -> Response:
    if path.startswith(("deltas/", "delta-indexes/")):
        digest = stored_file(services, repo.id, path)
        if digest is None:
            return _small(request, services, delta_index(services, repo.id, path), 0)
        cache = REVALIDATE if path.startswith("delta-indexes/") else None
        return blob_response(request, services, digest, media_type=OCTETS, cache=cache)
    found = small_file(services, repo.id, path)
    return _small(request, services, found.body if found else None, found.modified if found else 0)


def _small(request: Request, services: Services, body: bytes | None, modified: int) -> Response:
    if body is None:
        raise NotFound("no such file", path=request.url.path[:200])
    headers = {"Last-Modified": http_date(modified)} if modified else {}
    etag = Digest.of(body).hex[:32]
    if modified and not_modified_since(request.headers, modified):
        return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": REVALIDATE, **headers})
    return parts_response(request, services, [body], etag=etag, headers=headers, cache=REVALIDATE)


router = APIRouter()
for _path in ("/ostree/{repo}/{path:path}", "/repo/{path:path}"):
    router.routes.append(Route(_path, OstreeRepo(), methods=METHODS))
