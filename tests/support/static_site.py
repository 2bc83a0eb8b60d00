"""A plain web server of a directory, as mirrors are; counts requests and can fail on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """An answer in place of the file: a status, or a body (sent short of `length` if that is larger)."""

    status: int = 200
    body: bytes = b""
    length: int | None = None


@dataclass
class StaticSite:
    """`faults` is asked before each answer: path, how often it was asked for before -> Fault or None."""

    url: str
    paths: list[str] = field(default_factory=list)
    faults: Callable[[str, int], Fault | None] = lambda _path, _seen: None


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, site: StaticSite, **options: object) -> None:
        self._site = site
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        seen = self._site.paths.count(self.path)
        self._site.paths.append(self.path)
        fault = self._site.faults(self.path, seen)
        if fault is None:
            super().do_GET()
            return
        length = len(fault.body) if fault.length is None else fault.length
        self.send_response(fault.status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(fault.body)
        self.close_connection = length > len(fault.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serve_directory(root: Path) -> Iterator[StaticSite]:
    site = StaticSite("")
    handler = partial(_Handler, site=site, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
