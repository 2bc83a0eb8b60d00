"""A device in a temporary folder: state and stores, pulls in process, commands as a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen_client.names import Address, RefName
from smidgen_client.progress import Silent
from smidgen_client.pull.request import PullRequest, PullResult
from smidgen_client.pull.run import Pull
from smidgen_client.state.state import open_state
from smidgen_client.transport.client import Options, Transport
from smidgen_client.transport.retry import RetryPolicy

QUICK = Options(stall=1.0, retry=RetryPolicy(attempts=3, base=0.001, cap=0.002))


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str, **facts: Any) -> None:
        self.said.append(text)


@dataclass
class Device:
    """Stores live below `folder`."""

    folder: Path
    progress: Listening = field(default_factory=Listening)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def store(self, kind: str) -> str:
        return {
            "ostree": f"ostree:{self.folder / 'repo'}",
            "oci": f"oci:{self.folder / 'layout'}:stable",
            "tree": f"tree:{self.folder / 'tree'}",
        }[kind]

    def pull(
        self, url: str, into: str, ref: str = "ostree/os/stable", *, options: Options = QUICK, **request: Any
    ) -> PullResult:
        """A pull in this process; request: fields of PullRequest."""
        request.setdefault("prefer", "bytes")  # what is quickest depends on the machine
        wish = PullRequest(name=RefName.parse(ref), target=Address.parse(into), **request)
        with open_state(self.state) as state, Transport(url, options) as transport:
            return Pull(state, transport, wish, self.progress).run()

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "smidgen_client", *map(str, words), "--state", str(self.state), "--json"]

    def run(self, *words: str | Path, status: int = 0) -> dict[str, Any]:
        """A command as users run it; its last line of JSON. The exit code must be `status`."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == status, f"exit {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file and symlink below a folder."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
    return found
