"""Pushing blobs: POST, PATCH, PUT, GET and DELETE of /v2/<name>/blobs/uploads/ (end-4, 5, 6, 11, 13, 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SizeMismatch
from smidgen_server.api.body import drain
from smidgen_server.api.oci_asker import Asker, Pusher
from smidgen_server.api.oci_paths import REPOSITORY
from smidgen_server.api.routes import read_route
from smidgen_server.services import oci_blobs, oci_uploads
from smidgen_server.services.oci_errors import UploadInvalid

router = APIRouter()
_RANGE: Final = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?")  # the bare form is OCI's
_DIGEST = Annotated[str | None, Query()]


async def own_session(asker: Pusher, upload: str) -> str:
    """The session in the path. Raises UploadUnknown when it was begun for another repository."""
    asker.services.uploads.require_owner(upload, asker.name)
    return upload


OwnSession = Annotated[str, Depends(own_session)]


@router.post(REPOSITORY + "/blobs/uploads/")
@router.post(REPOSITORY + "/blobs/uploads", include_in_schema=False)
async def post_upload(
    request: Request,
    asker: Pusher,
    digest: _DIGEST = None,
    mount: _DIGEST = None,
    source: Annotated[str | None, Query(alias="from")] = None,
    algorithm: Annotated[str, Query(alias="digest-algorithm")] = "sha256",
) -> Response:
    """Mount a blob (end-11), store one that is in the request (end-4b), or begin a session (end-4a, 4c)."""
    if mount is not None:
        wanted = Digest.parse(mount)
        if await run_in_threadpool(oci_blobs.mount, asker.services, asker.principal, asker.name, wanted, source):
            return created(asker, wanted)
        algorithm = wanted.algorithm
    if digest is not None and mount is None:
        wanted = Digest.parse(digest)
        upload = await run_in_threadpool(oci_uploads.begin, asker.services, asker.name, wanted.algorithm)
        await append(request, asker, upload)
        await run_in_threadpool(oci_uploads.finish, asker.services, asker.name, upload, wanted)
        return created(asker, wanted)
    upload = await run_in_threadpool(oci_uploads.begin, asker.services, asker.name, algorithm)
    return progress(asker, upload, 0, 202)


@router.patch(REPOSITORY + "/blobs/uploads/{upload}")
async def patch_upload(request: Request, asker: Pusher, upload: OwnSession) -> Response:
    """A chunk with Content-Range, or a stream without (end-5)."""
    offset = await append(request, asker, upload)
    return progress(asker, upload, offset, 202)


@router.put(REPOSITORY + "/blobs/uploads/{upload}")
async def put_upload(request: Request, asker: Pusher, upload: OwnSession, digest: _DIGEST = None) -> Response:
    """The last chunk, or none; then the blob is verified and shown (end-6)."""
    wanted = Digest.parse(digest or "")
    await append(request, asker, upload)
    await run_in_threadpool(oci_uploads.finish, asker.services, asker.name, upload, wanted)
    return created(asker, wanted)


@read_route(router, REPOSITORY + "/blobs/uploads/{upload}")
def get_upload(asker: Pusher, upload: OwnSession) -> Response:
    """How far it is (end-13)."""
    return progress(asker, upload, asker.services.uploads.offset(upload), 204)


@router.delete(REPOSITORY + "/blobs/uploads/{upload}")
def delete_upload(asker: Pusher, upload: OwnSession) -> Response:
    """Cancel (end-14)."""
    asker.services.uploads.cancel(upload)
    return Response(status_code=204)


async def append(request: Request, asker: Asker, upload: str) -> int:
    """Write the body of the request at the end of the session; returns the session's length.

    Raises:
        UploadOffset: its Content-Range does not begin there (416).
        UploadInvalid, SizeMismatch: it is malformed, or not what the body is.
        LimitExceeded: the blob gets larger than allowed.
    """
    start, promised = content_range(request)
    async with contextmanager_in_threadpool(asker.services.uploads.append(upload, start)) as writer:
        chunk = Chunk(writer.write, promised)
        await drain(request, chunk.write, limit=asker.services.settings.limits.blob_bytes)
        chunk.check()
        return writer.offset


class Chunk:
    """A piece of which the sender has said how long it is; longer than that it is not written."""

    def __init__(self, write: Callable[[bytes], None], promised: int | None) -> None:
        self._write, self._promised = write, promised
        self._length = 0

    def write(self, data: bytes) -> None:
        self._length += len(data)
        if self._promised is not None and self._length > self._promised:
            raise SizeMismatch("the body is longer than its Content-Range", promised=self._promised)
        self._write(data)

    def check(self) -> None:
        if self._promised not in (None, self._length):
            raise SizeMismatch("the body is not its Content-Range", promised=self._promised, received=self._length)


def content_range(request: Request) -> tuple[int | None, int | None]:
    """First byte and length from the Content-Range header; (None, None) without one."""
    text = request.headers.get("content-range")
    if text is None:
        return None, None
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2]) + 1 < int(found[1]):
        raise UploadInvalid("malformed Content-Range", given=text[:100])
    return int(found[1]), int(found[2]) + 1 - int(found[1])


def progress(asker: Asker, upload: str, offset: int, status: int) -> Response:
    """Where the session is and how far. Nothing received yet is written 0-0, as clients know it."""
    headers = {
        "Location": asker.upload_location(upload),
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=headers)


def created(asker: Asker, digest: Digest) -> Response:
    headers = {"Location": asker.blob_location(digest), "Docker-Content-Digest": str(digest)}
    return Response(status_code=201, headers=headers)
