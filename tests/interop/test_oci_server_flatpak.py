"""The registry as a remote of stock flatpak: an application is installed, then updated by a delta of ours."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smidgen_deltas.oci.layout import Layout
from smidgen_server.index import deltas
from smidgen_server.services import ingest_oci
from smidgen_server.services.tasks import no_progress
from support.releases import settled
from support.server import RunningServer, run_server

pytestmark = pytest.mark.needs("flatpak", "dbus-run-session")
APP = "org.example.Hello"
METADATA = f"[Application]\nname={APP}\nruntime=org.example.Platform/x86_64/stable\ncommand=hello\n"
PROGRAM = random.Random(3).randbytes(400_000)


@dataclass
class Log:
    """Bytes of bodies that were sent, by path; extends the server."""

    sent: dict[str, int] = field(default_factory=dict)

    def __call__(self, app: FastAPI) -> None:
        app.add_middleware(Recorder, log=self)


@dataclass
class Recorder:
    app: ASGIApp
    log: Log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count(message: Message) -> None:
            if message["type"] == "http.response.body":
                size = len(message.get("body", b""))
                self.log.sent[scope["path"]] = self.log.sent.get(scope["path"], 0) + size
            await send(message)

        await self.app(scope, receive, count)


@dataclass(frozen=True)
class Flatpak:
    """flatpak on a session bus of its own (its authenticator for registries needs one), all below `home`."""

    home: Path

    def __call__(self, *words: str) -> str:
        here = {"HOME": self.home, "XDG_DATA_HOME": self.home / "data", "XDG_CACHE_HOME": self.home / "cache"}
        places = {"FLATPAK_SYSTEM_DIR": self.home / "system", "XDG_RUNTIME_DIR": self.home / "run"}
        environment = {**os.environ, **{name: str(path) for name, path in (here | places).items()}}
        command = ["dbus-run-session", "--", "flatpak", *words]
        with tempfile.TemporaryFile("w+") as said:  # a pipe would be held open by what outlives the bus
            process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
            status = process.wait(120)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            said.seek(0)
            output = said.read()
        assert status == 0, f"flatpak {' '.join(words)}\n{output}"
        return output


@pytest.fixture
def flatpak(tmp_path: Path) -> Flatpak:
    (tmp_path / "home/run").mkdir(parents=True, mode=0o700)
    return Flatpak(tmp_path / "home")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def site(tmp_path: Path, log: Log) -> Iterator[RunningServer]:
    with run_server(tmp_path / "data", log, deltas={"formats": ["tardiff"]}) as server:
        yield server


def publish(site: RunningServer, flatpak: Flatpak, version: int) -> None:
    """Build a version of a toy program as an image, as flatpak does it, and publish that."""
    folder, repo, image = (flatpak.home.parent / f"{name}{version}" for name in ("app", "repo", "image"))
    (folder / "files/bin").mkdir(parents=True)
    (folder / "export").mkdir()
    (folder / "files/bin/hello").write_bytes(PROGRAM[:1000] + bytes([version]) * 10 + PROGRAM[1000:])
    (folder / "metadata").write_text(METADATA)
    flatpak("build-export", str(repo), str(folder), "stable")
    flatpak("build-bundle", "--oci", str(repo), str(image), APP, "stable")
    ingest_oci.publish(site.services, Layout.open(image), None, "hello", "latest", no_progress)


def installed(flatpak: Flatpak) -> int:
    """Which version is there, byte for byte."""
    program = next((flatpak.home / "data/flatpak/app" / APP).rglob("active/files/bin/hello")).read_bytes()
    assert (program[:1000], program[1010:]) == (PROGRAM[:1000], PROGRAM[1000:])
    return program[1000]


def test_an_update_is_a_delta(site: RunningServer, flatpak: Flatpak, log: Log) -> None:
    quiet = ("-y", "--noninteractive", "--no-deps", "--no-related")
    publish(site, flatpak, 1)
    flatpak("--user", "remote-add", "toys", f"oci+{site.url}")
    assert APP in flatpak("--user", "remote-ls", "toys")
    flatpak("--user", "install", *quiet, "toys", APP)
    assert installed(flatpak) == 1
    assert sum(log.sent.values()) > len(PROGRAM)
    publish(site, flatpak, 2)
    (row,) = settled(site.services)
    assert row.state == deltas.READY, row.reason
    log.sent.clear()
    flatpak("--user", "update", *quiet, APP)
    assert installed(flatpak) == 2
    sent = dict(log.sent)
    assert sum(sent.values()) < 10_000, sent
    with site.client() as client:
        (target,) = client.get("/v2/hello/manifests/_deltaindex").json()["manifests"]
        (delta,) = client.get(f"/v2/hello/manifests/{target['digest']}").json()["layers"]
        (layer,) = client.get("/v2/hello/manifests/latest").json()["layers"]
    assert sent[f"/v2/hello/blobs/{delta['digest']}"] == delta["size"]
    assert f"/v2/hello/blobs/{layer['digest']}" not in sent
