"""Publishing an image over `/v2/` (distribution-spec v1.1, "Push"): from an OCI layout, only what the registry lacks.

Blobs are sent in chunks, so that a broken line costs at most one; manifests follow, children first, the tag last. The
tag is what makes the server build the update surface; `wait_for_surface` returns when devices can see it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_client.names import RefName
from smidgen_client.progress import Progress
from smidgen_client.publish.api import Api
from smidgen_client.transport.answers import Retryable, ShortBody
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound, TransportError
from smidgen_deltas.native.refdoc import MAX_DOCUMENT as MAX_REF
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Descriptor, Index, Manifest

CHUNK: Final = 16 << 20
BLOCK: Final = 1 << 18
MAX_DEPTH: Final = 4
SURFACE_SECONDS: Final = 3600.0
OCTETS: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was sent; sizes in bytes."""

    ref: str
    revision: str
    blobs: int
    sent: int
    bytes_sent: int


def publish_oci(api: Api, layout: Layout, tag: str | None, name: RefName, progress: Progress) -> Pushed:
    """Push the image that `tag` names in the layout as `name`. Raises what the registry says."""
    root = layout.resolve(tag)
    pusher = _Pusher(api, layout, f"v2/{name.repo}", progress)
    progress.begin("pushing", sum(one.size for one in pusher.blobs_of(root)))
    pusher.push(root, name.ref)
    progress.end()
    return Pushed(str(name), str(root.digest), pusher.blobs, pusher.sent, pusher.bytes)


def wait_for_surface(api: Api, name: RefName, revision: str, progress: Progress) -> None:
    """Return when the ref document names `revision`. Raises TransportError when that takes too long."""
    import base64
    import json

    progress.say("waiting for the server to make it available to devices")
    deadline, wait = api.clock.now() + SURFACE_SECONDS, 0.05
    while api.clock.now() < deadline:
        try:
            body = api.call("GET", name.path).body
        except NotFound:
            body = b""
        if len(body) > MAX_REF:
            raise LimitExceeded("the ref document is too large", limit=MAX_REF)
        if body:
            try:
                payload = json.loads(base64.b64decode(json.loads(body)["payload"]))
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError("the server's ref document is malformed") from error
            if payload.get("revision") == revision:
                return
        api.clock.sleep(wait)
        wait = min(1.0, wait * 1.5)
    raise TransportError("the image was pushed, but the server has not made it available to devices yet")


class _Pusher:
    def __init__(self, api: Api, layout: Layout, base: str, progress: Progress) -> None:
        self._api, self._layout, self._base, self._progress = api, layout, base, progress
        self.blobs = self.sent = self.bytes = 0

    def blobs_of(self, descriptor: Descriptor, depth: int = MAX_DEPTH) -> Iterator[Descriptor]:
        """Config and layers of an image, of all images of an index; each as often as it is named."""
        manifest = self._layout.manifest(descriptor)
        if isinstance(manifest, Manifest):
            yield from self._own_blobs(manifest)
            return
        for child in self._children(manifest, depth):
            yield from self.blobs_of(child, depth - 1)

    def push(self, descriptor: Descriptor, reference: str, depth: int = MAX_DEPTH) -> None:
        """Blobs first, then the manifest under `reference` (a tag or digest)."""
        manifest = self._layout.manifest(descriptor)
        if isinstance(manifest, Index):
            for child in self._children(manifest, depth):
                self.push(child, str(child.digest), depth - 1)
        else:
            for blob in {one.digest: one for one in self._own_blobs(manifest)}.values():
                self._blob(blob)
        headers = {"Content-Type": manifest.media_type}
        self._api.call("PUT", f"{self._base}/manifests/{reference}", body=manifest.body, headers=headers)

    def _own_blobs(self, manifest: Manifest) -> list[Descriptor]:
        return [one for one in (manifest.config, *manifest.layers) if self._layout.has_blob(one.digest)]

    def _children(self, index: Index, depth: int) -> list[Descriptor]:
        if not depth:
            raise LimitExceeded("indexes are nested too deep", limit=MAX_DEPTH)
        return [one for one in index.manifests if self._layout.has_blob(one.digest)]

    def _blob(self, blob: Descriptor) -> None:
        self.blobs += 1
        if self._api.exists(f"{self._base}/blobs/{blob.digest}"):
            self._progress.advance(blob.size)
            return
        location = self._location(self._api.call("POST", f"{self._base}/blobs/uploads/").headers)
        location = self._chunks(blob, location)
        joint = "&" if "?" in location else "?"
        self._api.call("PUT", f"{location}{joint}digest={blob.digest}", headers={"Content-Type": OCTETS})
        self.sent += 1

    def _chunks(self, blob: Descriptor, location: str) -> str:
        """Send the blob in chunks; after a failure ask how far the registry got."""
        attempts = self._api.attempts()
        at = 0
        while at < blob.size:
            end = min(at + CHUNK, blob.size)
            headers = {"Content-Type": OCTETS, "Content-Length": str(end - at), "Content-Range": f"{at}-{end - 1}"}
            try:
                answer = self._api.once("PATCH", location, body=self._reader(blob.digest, at, end), headers=headers)
                location = self._location(answer.headers)
                self.bytes += end - at
                self._progress.advance(end - at)
                at = end
                attempts.progressed()
            except (Retryable, ShortBody) as error:
                attempts.failed(error, getattr(error, "retry_after", None))
                at, location = self._status(location)
        return location

    def _status(self, location: str) -> tuple[int, str]:
        """How many bytes of an upload the registry has, and where to go on."""
        answer = self._api.call("GET", location)
        match = _RANGE.match(answer.headers.get("range", ""))
        return (int(match[1]) + 1 if match else 0), self._location(answer.headers)

    def _reader(self, digest: Digest, start: int, end: int) -> Callable[[], Iterator[bytes]]:
        def blocks() -> Iterator[bytes]:
            with self._layout.open_blob(digest) as reader:
                at = 0
                while at < end and (block := reader.read(min(BLOCK, end - at))):
                    first = max(start - at, 0)
                    at += len(block)
                    if first < len(block):
                        yield block[first:]

        return blocks

    @staticmethod
    def _location(headers: object) -> str:
        location = headers.get("location") if hasattr(headers, "get") else None
        if not location:
            raise TransportError("the registry did not say where to upload")
        return str(location)
