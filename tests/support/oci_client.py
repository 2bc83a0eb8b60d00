"""A small registry client for tests: every way to push, and nothing hidden. Works against any registry."""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from support.oci_content import Content, Document

OCTETS = {"Content-Type": "application/octet-stream"}


class RegistryLogin(httpx2.Auth):
    """The bearer-token flow: challenge, token, retry; Basic where that is asked for."""

    def __init__(self, user: str, password: str) -> None:
        self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._known: dict[str, str] = {}

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        place = f"{request.method} {'/'.join(request.url.path.split('/')[:5])}"
        if place in self._known:
            request.headers["Authorization"] = self._known[place]
        response = yield request
        if response.status_code != 401:
            return
        scheme, _, rest = response.headers["WWW-Authenticate"].partition(" ")
        header = self._basic
        if scheme.lower() == "bearer":
            parts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            params = {name: parts[name] for name in ("service", "scope") if name in parts}
            answer = yield httpx2.Request("GET", parts["realm"], params=params, headers={"Authorization": self._basic})
            answer.read()
            header = "Bearer " + answer.json()["token"]
        request.headers["Authorization"] = self._known[place] = header
        yield request


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository of a registry. Methods return the last response, unchecked."""

    client: httpx2.Client
    name: str

    def path(self, rest: str) -> str:
        return f"/v2/{self.name}/{rest}"

    def request(self, method: str, rest: str, **options: Any) -> httpx2.Response:
        return self.client.request(method, self.path(rest), **options)

    def get(self, rest: str, **options: Any) -> httpx2.Response:
        return self.request("GET", rest, **options)

    def head(self, rest: str, **options: Any) -> httpx2.Response:
        return self.request("HEAD", rest, **options)

    def delete(self, rest: str, **options: Any) -> httpx2.Response:
        return self.request("DELETE", rest, **options)

    def begin(self, **params: str) -> httpx2.Response:
        return self.request("POST", "blobs/uploads/", params=params, headers={"Content-Length": "0"})

    def location(self, response: httpx2.Response) -> httpx2.URL:
        """Where the response says to go on."""
        return response.request.url.join(response.headers["Location"])

    def patch(self, where: httpx2.URL, data: bytes, start: int | None = None) -> httpx2.Response:
        """A chunk that begins at `start`; without it a stream."""
        if start is None:
            return self.client.patch(where, content=Stream(data), headers=OCTETS)
        headers = {**OCTETS, "Content-Range": f"{start}-{start + len(data) - 1}"}
        return self.client.patch(where, content=data, headers=headers)

    def put(self, where: httpx2.URL, digest: str, data: bytes = b"", start: int | None = None) -> httpx2.Response:
        headers = dict(OCTETS)
        if start is not None:
            headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
        return self.client.put(where.copy_add_param("digest", digest), content=data, headers=headers)

    # Ways to push one blob

    def post_only(self, digest: str, data: bytes) -> httpx2.Response:
        return self.request("POST", "blobs/uploads/", params={"digest": digest}, content=data, headers=OCTETS)

    def post_put(self, digest: str, data: bytes) -> httpx2.Response:
        return self.put(self.location(self.begin()), digest, data)

    def streamed(self, digest: str, data: bytes) -> httpx2.Response:
        return self.put(self.location(self.patch(self.location(self.begin()), data)), digest)

    def chunked(self, digest: str, data: bytes, chunks: int = 1, *, last_in_put: bool = False) -> httpx2.Response:
        where, size, start = self.location(self.begin()), -(-len(data) // chunks), 0
        while len(data) - start > (size if last_in_put else 0):
            response = self.patch(where, data[start : start + size], start)
            assert response.status_code == 202, response.text
            assert response.headers["Range"] == f"0-{min(start + size, len(data)) - 1}"
            where, start = self.location(response), start + size
        return self.put(where, digest, data[start:], start) if last_in_put else self.put(where, digest)

    # Manifests and whole contents

    def put_manifest(self, document: Document, reference: str | None = None, **options: Any) -> httpx2.Response:
        headers = {"Content-Type": document.media_type, **options.pop("headers", {})}
        where = f"manifests/{reference or document.digest}"
        return self.request("PUT", where, content=document.body, headers=headers, **options)

    def push_blobs(self, content: Content) -> None:
        for digest, data in content.blobs.items():
            response = self.post_put(digest, data)
            assert response.status_code == 201, response.text

    def push(self, content: Content) -> None:
        """Blobs, documents by digest, tags; everything must be accepted."""
        self.push_blobs(content)
        for document in content.documents:
            response = self.put_manifest(document)
            assert response.status_code == 201, response.text
        for tag, document in content.tags.items():
            response = self.put_manifest(document, tag)
            assert response.status_code == 201, response.text


class Stream:
    """Sent without a length; again from the start when the request has to be repeated after a login."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return (self._data[start : start + 1000] for start in range(0, len(self._data), 1000))


def error_codes(response: httpx2.Response) -> list[str]:
    """Codes of an error body, after looking at its shape (distribution-spec, "Error Codes")."""
    errors = response.json()["errors"]
    for error in errors:
        assert re.fullmatch(r"[A-Z_]+", error["code"])
        assert isinstance(error.get("message", ""), str)
    return [error["code"] for error in errors]
