"""A real nginx before a server, with the sample configuration that we give to users, for benchmarks and tests."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_benchmarks.service import free_port
from smidgen_deltas.errors import NotFound, TransportError

SAMPLE: Final = Path(__file__).parents[2] / "server" / "examples" / "nginx.conf"
PLACES: Final = "/usr/sbin:/sbin:/usr/local/sbin"
MAIN: Final = """
user root;
daemon off;
worker_processes 1;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format facts '$server_port|$request_method|$request_uri|$http_range|$status|$bytes_sent|$upstream_cache_status';
    access_log {root}/access.log facts;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/site.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """A line of the log. at_origin: asked by the edge, else by a device; range: the header; cache: HIT, MISS, ..."""

    at_origin: bool
    method: str
    path: str
    range: str
    status: int
    bytes_sent: int
    cache: str


@dataclass(slots=True)
class Front:
    """A running nginx: `url` is what devices ask."""

    url: str
    root: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Let requests under way end, and every one be logged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answered(self) -> list[Answered]:
        """All requests in the order of their ends; complete after `stop` only."""
        public = self.url.rpartition(":")[2]
        lines = (line.split("|") for line in (self.root / "access.log").read_text().splitlines())
        return [
            Answered(port != public, method, path, asked.strip("-"), int(status), int(sent), cache.strip("-"))
            for port, method, path, asked, status, sent, cache in lines
        ]


def find_nginx() -> str:
    """Path of the program. Raises NotFound."""
    found = shutil.which("nginx") or shutil.which("nginx", path=PLACES)
    if found is None:
        raise NotFound("nginx is not installed (Debian package nginx-light)")
    return found


@contextmanager
def start_nginx(root: Path, backend: str, data: Path) -> Iterator[Front]:
    """Run nginx before `backend` (HOST:PORT) whose data directory is `data`; its own files lie below the new `root`.

    Raises NotFound without nginx, TransportError if it does not come up.
    """
    program = find_nginx()
    root.mkdir()
    public, origin = free_port(), free_port()
    (root / "site.conf").write_text(_site(root, backend, data, public, origin))
    (root / "nginx.conf").write_text(MAIN.format(root=root))
    process = subprocess.Popen([program, "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")])
    front = Front(f"http://127.0.0.1:{public}", root, process)
    try:
        _wait(process, public, root)
        yield front
    finally:
        front.stop()


def _site(root: Path, backend: str, data: Path, public: int, origin: int) -> str:
    """The sample with this machine's places in it; each of them must be in the sample."""
    text = SAMPLE.read_text()
    places = {
        "listen 80;": f"listen 127.0.0.1:{public};",
        "127.0.0.1:8650": backend,
        "127.0.0.1:8651": f"127.0.0.1:{origin}",
        "/var/lib/smidgen-server/": f"{data}/",
        "/var/cache/nginx/smidgen ": f"{root}/cache ",
    }
    for sample, here in places.items():
        if sample not in text:
            raise NotFound("the sample configuration of nginx has another form", missing=sample)
        text = re.sub(re.escape(sample) + r"(?!\d)", lambda _, here=here: here, text)  # type: ignore[misc]
    return text


def _wait(process: subprocess.Popen[bytes], port: int, root: Path) -> None:
    """nginx opens its sockets before anything else: connecting is refused for a moment only."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
    raise TransportError("nginx did not start", reason=(root / "error.log").read_text()[-1000:])
