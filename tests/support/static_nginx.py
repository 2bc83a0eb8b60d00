"""A plain nginx that serves a folder, with nothing but its defaults."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def serve_folder(root: Path, work: Path) -> Iterator[str]:
    """Its URL while it runs; `work`: a new folder for its own files. Runs as the user of the test."""
    work.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = work / "nginx.conf"
    user = "user root;" if Path("/").owner() == "root" and work.owner() == "root" else ""
    file.write_text(user + CONFIGURATION.format(work=work, root=root, port=port))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", str(file), "-e", str(work / "error.log")])
    try:
        _wait(process, port, work / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
    raise AssertionError(f"nginx did not start: {log.read_text()[-1000:]}")
