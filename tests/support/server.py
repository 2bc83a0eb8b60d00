"""The server of this project, really listening: in a thread (its services can be looked at) or as a process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from smidgen_server.app import create_app
from smidgen_server.serve import uvicorn_config
from smidgen_server.services.container import Services, open_services
from smidgen_server.settings import Settings


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server in a thread. `token` is the admin token, good as Bearer value and as Basic password."""

    url: str
    token: str
    services: Services

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @property
    def host(self) -> str:
        """HOST:PORT, as registry clients write it."""
        return self.url.removeprefix("http://")

    @property
    def auth(self) -> dict[str, str]:
        """Headers of somebody who may do everything."""
        return {"Authorization": f"Bearer {self.token}"}

    def sent_bytes(self) -> float:
        """Bytes of bodies that this process sent, over all routes; what nginx sends in its place does not count."""
        families = self.services.metrics.registry.collect()
        samples = (sample for family in families for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == "smidgen_http_sent_bytes_total")

    def client(self, **options: Any) -> httpx2.Client:
        """A client with the base URL and the admin token; close it, or use it in `with`."""
        return httpx2.Client(base_url=self.url, headers=self.auth, timeout=60, **options)

    def anonymous(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60, **options)


@contextmanager
def run_server(data: Path, extend: Callable[[FastAPI], None] | None = None, **settings: Any) -> Iterator[RunningServer]:
    """Serve `data` until the end of the block; `settings` as in Settings; `extend` may add routes before the start."""
    wanted = Settings(data=data, **{"shutdown_seconds": 5, **settings})
    with open_services(wanted) as services, socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(services)
        if extend is not None:
            extend(app)
        server = uvicorn.Server(uvicorn_config(wanted, app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            httpx2.get(f"{url}/healthz", timeout=30).raise_for_status()  # the socket listens, so this waits
            yield RunningServer(url, (data / "admin.token").read_text().strip(), services)
        finally:
            server.should_exit = True
            thread.join(30)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server as its own process: can be killed, and its memory measured."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def kill(self) -> None:
        """Like a power cut, as far as a process can have one."""
        self.process.kill()
        self.process.wait(30)

    def peak_memory(self) -> int:
        """Most resident bytes so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


@contextmanager
def start_server(data: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[ServerProcess]:
    """Run `smidgen serve` on a socket that this process opened, so that no port can be lost in a race."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "smidgen_server", "serve", "--data", str(data), "--fd", str(listener.fileno())]
        with (data.parent / f"{data.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *arguments],
                pass_fds=[listener.fileno()],
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        httpx2.get(f"{url}/healthz", timeout=60).raise_for_status()
        yield ServerProcess(url, data, process)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


ServerFactory = Callable[..., RunningServer]
