"""A bundle in the place of a server: its files answer requests. Its signature is checked by whoever knows the keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import httpx2

from smidgen_client.transport.content_range import Span
from smidgen_deltas.errors import NotFound, SizeMismatch, StorageError
from smidgen_deltas.native.bundle import Bundle, read_head

BLOCK: Final = 1 << 18


class BundleFile(httpx2.BaseTransport):
    """An opened bundle. Raises NotFound, StorageError, FormatError, SizeMismatch when it is not one, or not whole."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound("no such bundle", path=str(path)) from error
        except OSError as error:
            raise StorageError("the bundle cannot be read", path=str(path), reason=error.strerror) from error
        self._path = path
        self.head: Bundle = read_head(self._file)
        size = path.stat().st_size
        if size != self.head.size:
            raise SizeMismatch("the bundle is not as long as its index says", expected=self.head.size, found=size)
        self._places: dict[str, Span] = {}
        at = self.head.start
        for entry in self.head.entries:
            self._places[entry.name] = Span(at, entry.size)
            at += entry.size

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a GET, of all of a file or of one range."""
        place = self._places.get(request.url.path.removeprefix("/"))
        if place is None:
            return httpx2.Response(404, request=request)
        first, last = 0, place.length - 1
        asked = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        if asked[1]:
            first, last = int(asked[0]), min(int(asked[2] or last), last)
        headers = {"content-length": str(last + 1 - first), "content-type": "application/octet-stream"}
        if asked[1]:
            headers["content-range"] = f"bytes {first}-{last}/{place.length}"
        stream = _Body(self._path, Span(place.start + first, last + 1 - first))
        return httpx2.Response(206 if asked[1] else 200, headers=headers, stream=stream, request=request)

    def close(self) -> None:
        self._file.close()


class _Body(httpx2.SyncByteStream):
    """Part of a file; each answer has a handle of its own, since several threads read."""

    def __init__(self, path: Path, span: Span) -> None:
        self._path, self._span = path, span

    def __iter__(self) -> Iterator[bytes]:
        left = self._span.length
        with self._path.open("rb") as file:
            file.seek(self._span.start)
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block
