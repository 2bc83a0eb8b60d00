"""A server of our own in a child process, for the demo and the benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smidgen_deltas.errors import TransportError

START_SECONDS: Final = 60
POLL_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Service:
    """A running server: its base URL, the file with the token that may publish, its process."""

    url: str
    token_file: Path
    pid: int

    def peak_memory(self) -> int:
        """Highest resident memory so far, bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def settle(self) -> None:
        """Return once the server has nothing left to do. Raises TransportError after SETTLE_SECONDS."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if not self._listed("tasks", "queued", "running") and not self._listed("jobs", "waiting", "building"):
                return
            time.sleep(POLL_SECONDS)
        raise TransportError("the server is still busy", seconds=SETTLE_SECONDS)

    def order_delta(self, repo: str, source: str, target: str) -> None:
        """Have a delta made, whatever the policy says. repo: KIND/NAME; source, target: digests or refs."""
        self._asked("jobs", json.dumps({"repo": repo, "source": source, "target": target}).encode())

    def _listed(self, what: str, *states: str) -> list[Any]:
        """Tasks or jobs in these states."""
        found: list[Any] = self._asked(f"{what}?{'&'.join(f'state={state}' for state in states)}")[what]
        return found

    def _asked(self, path: str, body: bytes | None = None) -> Any:
        """What the admin API answers; with a body to a POST."""
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", body)  # noqa: S310 - our own loopback server
        request.add_header("Authorization", f"Bearer {self.token_file.read_text().strip()}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    def requests(self) -> int:
        """HTTP requests answered so far, read from /metrics (that request included)."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:  # noqa: S310 - our own loopback server
            lines = answer.read().decode().splitlines()
        return int(
            sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("smidgen_http_requests_total{"))
        )


@contextlib.contextmanager
def serving(data: Path, log: Path, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start `smidgen serve` on a free port and stop it at the end. Raises TransportError if it does not come up.

    Args:
        settings: as in the environment, by names without the prefix.
    """
    environment = {**os.environ, **{f"SMIDGEN_{name}": value for name, value in (settings or {}).items()}}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "smidgen_client", "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
        try:
            _wait(process, url, log)
            yield Service(url, data / "admin.token", process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 - our own loopback server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)
    raise TransportError("the server did not start", log=str(log), output=log.read_text(errors="replace")[-1000:])
