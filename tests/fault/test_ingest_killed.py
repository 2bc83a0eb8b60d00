"""Publishing that is killed, starved or lied to: nothing half-made is seen, and what was verified is kept."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from smidgen_deltas.errors import StorageError
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import closure
from smidgen_server.index.base import Index
from smidgen_server.index.tables.ostree import ostree_object
from smidgen_server.services import ingest_ostree
from smidgen_server.services.container import open_services
from smidgen_server.services.tasks import no_progress
from smidgen_server.settings import Settings
from support import publish_and_die
from support.limits import file_size_limit
from support.oci_content import CONFIG, LAYER, Content, layer_tar
from support.oci_files import write_layout
from support.ostree import FIRST, REF, SECOND, unpack_archive_repo
from support.server import ServerFactory, start_server
from support.static_site import Fault, serve_directory
from support.surface import fetch

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
COMMIT = f"objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commit"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return unpack_archive_repo(tmp_path / "origin")


def publish_until_killed(data: Path, source: str, target: str, steps: int) -> bool:
    """True: it was killed on the way."""
    command = [sys.executable, publish_and_die.__file__, str(data), source, target, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def known_objects(data: Path) -> int:
    index = Index(f"sqlite:///{data / 'index.sqlite'}")
    try:
        with index.read() as session:
            return session.execute(select(func.count()).select_from(ostree_object)).scalar_one()
    finally:
        index.close()


@pytest.mark.parametrize("step", [2, 7, 19])
def test_killed_again_and_again_it_still_gets_there(
    server_factory: ServerFactory, origin: Path, tmp_path: Path, step: int
) -> None:
    data = tmp_path / "data"
    kept, runs, before = [0], 0, 3
    while publish_until_killed(data, f"ostree:{origin}@{SECOND.hex()}", f"toy/{REF}", before):
        kept.append(known_objects(data))
        assert kept[-1] >= kept[-2]
        runs, before = runs + 1, before + step
        if runs % 4 == 1:
            running = server_factory(data=data)
            with running.anonymous() as client:
                assert client.get(f"/u/refs/ostree/toy/{REF}.json").status_code == 404
                assert client.get(f"/ostree/toy/{COMMIT}").status_code == 404
                assert client.get(f"/ostree/toy/refs/heads/{REF}").status_code == 404
    assert runs and known_objects(data) == len(list(closure(Repository.open(origin).metadata, SECOND)))
    assert kept[-1] > 0
    with server_factory(data=data).anonymous() as client:
        assert fetch(client, f"ostree/toy/{REF}").document.revision.raw == SECOND


def test_killed_while_an_image_is_taken_apart(server_factory: ServerFactory, tmp_path: Path) -> None:
    made = Content()
    tar = layer_tar({f"file{number}": os.urandom(20_000) for number in range(60)})
    made.manifest(made.blob(b"{}", CONFIG), [made.blob(gzip.compress(tar), LAYER + "+gzip")])
    layout = write_layout(made.tag("v1"), tmp_path / "layout")
    data, steps = tmp_path / "data", 1
    while publish_until_killed(data, f"oci:{layout}:v1", "app:v1", steps):
        steps += 9
    assert steps > 1
    with server_factory(data=data).anonymous() as client:
        assert len(fetch(client, "oci/app:v1").contents) == 60


def test_server_killed_while_mirroring_goes_on_by_itself(origin: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve_directory(origin) as site:
        with start_server(data) as process:

            def kill_at_the_tenth(path: str, _seen: int) -> Fault | None:
                if len(site.paths) == 20:
                    process.kill()
                return None

            site.faults = kill_at_the_tenth
            with httpx2.Client(base_url=process.url, headers=process.auth) as client:
                wish = {"url": site.url, "refs": [REF]}
                number = client.post("/api/v1/ostree/toy/mirror", json=wish).raise_for_status().json()["task"]
            process.process.wait(60)
        site.faults = lambda _path, _seen: None
        with start_server(data) as process, httpx2.Client(base_url=process.url, headers=process.auth) as client:
            wait_for(lambda: client.get(f"/api/v1/tasks/{number}").json()["state"] == "done")
            assert fetch(client, f"ostree/toy/{REF}").document.revision.raw == SECOND


def wait_for(condition: Callable[[], bool]) -> None:
    """Ask until it holds; every question is a request, which takes its time."""
    for _ in range(10_000):
        if condition():
            return
    raise AssertionError("it never came true")


@pytest.mark.parametrize("limit", [60_000, 300_000])
def test_full_disk(origin: Path, tmp_path: Path, server_factory: ServerFactory, limit: int) -> None:
    running = server_factory()
    toy = Repository.open(origin)
    ingest_ostree.publish(running.services, toy, FIRST.hex(), "toy", REF, no_progress)
    with file_size_limit(limit), pytest.raises(StorageError):
        ingest_ostree.publish(running.services, toy, SECOND.hex(), "toy", REF, no_progress)
    with running.anonymous() as client:
        assert fetch(client, f"ostree/toy/{REF}").document.revision.raw == FIRST
        ingest_ostree.publish(running.services, toy, SECOND.hex(), "toy", REF, no_progress)
        assert fetch(client, f"ostree/toy/{REF}").document.revision.raw == SECOND


def test_two_publishers_of_one_commit_at_once(origin: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_services(Settings(data=data)):
        pass
    command = [
        sys.executable,
        publish_and_die.__file__,
        str(data),
        f"ostree:{origin}@{SECOND.hex()}",
        f"toy/{REF}",
        "0",
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) for _ in range(3)]
    for one in running:
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
