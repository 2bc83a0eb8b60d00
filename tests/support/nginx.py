"""A real nginx before a server, with the sample configuration that we give to users."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.programs import SYSTEM

SAMPLE: Final = Path(__file__).parents[2] / "server" / "examples" / "nginx.conf"
MAIN: Final = """
user root;
daemon off;
worker_processes 1;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/site.conf;
}}
"""


@contextmanager
def start_nginx(root: Path, backend: str, data: Path) -> Iterator[str]:
    """Run nginx before `backend` (HOST:PORT) whose data directory is `data`; yields its base URL."""
    program = shutil.which("nginx") or shutil.which("nginx", path=SYSTEM)
    assert program is not None
    root.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (root / "site.conf").write_text(_site(root, backend, data, port))
    (root / "nginx.conf").write_text(MAIN.format(root=root))
    process = subprocess.Popen([program, "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")])
    try:
        _wait(process, port, root)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _site(root: Path, backend: str, data: Path, port: int) -> str:
    """The sample with this machine's places in it; each of them must be in the sample."""
    text = SAMPLE.read_text()
    for sample, here in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "127.0.0.1:8650": backend,
        "/var/lib/smidgen-server/": f"{data}/",
        "/var/cache/nginx/smidgen ": f"{root}/cache ",
    }.items():
        assert sample in text, sample
        text = text.replace(sample, here)
    return text


def _wait(process: subprocess.Popen[bytes], port: int, root: Path) -> None:
    """nginx opens its socket before anything else: connecting is refused for a moment only."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
    raise AssertionError((root / "error.log").read_text())
