"""Builds that are killed, hang, or want too much; servers that die: nothing is lost, nothing is made twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.index import deltas, surface
from smidgen_server.index.base import Index
from smidgen_server.index.deltas import DeltaRow
from smidgen_server.services.container import Services, open_services
from smidgen_server.settings import Settings
from support.builders import builders, go_on, kill, stop, wait_for_builder, wait_until_gone
from support.releases import rows, settled, until
from support.server import ServerFactory, start_server
from support.small_images import publish_version

QUICK = {"SMIDGEN_DELTAS__RETRY_SECONDS": "0", "SMIDGEN_DELTAS__ATTEMPTS": "20"}


def publish_two(services: Services, folder: Path) -> None:
    for version in (1, 2):
        publish_version(services, folder, version)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a wanted delta."""
    with open_services(Settings(data=tmp_path / "data")) as services:
        publish_two(services, tmp_path)
    return tmp_path / "data"


def ready(index: Index, timeout: float = 120.0) -> DeltaRow:
    """The only delta, once it is ready."""
    (row,) = until(index, lambda found: found[0].state not in deltas.ACTIVE, timeout)
    assert row.state == deltas.READY, row.reason
    return row


def check_blob(services: Services, row: DeltaRow) -> None:
    """The one offer is of one blob that is whole."""
    with services.index.read() as session:
        (offer,) = deltas.offers(session, row.target_id)
        assert surface.readers(session, offer.piece.digest)
    with services.blobs.open(offer.piece.digest) as blocks:
        assert Digest.of(b"".join(blocks)) == offer.piece.digest


def test_a_server_killed_again_and_again_loses_nothing(data: Path) -> None:
    index = Index(f"sqlite:///{data / 'index.sqlite'}")
    with start_server(data, environment=QUICK) as server:
        until(index, lambda found: found[0].attempts > 0)
        server.kill()  # perhaps before the process has begun
    for last in (go_on, kill):
        with start_server(data, environment=QUICK) as server:
            builder = wait_for_builder(server.process.pid)
            stop(builder)
            server.kill()
            assert [row.state for row in rows(index)] == [deltas.BUILDING]
            last(builder)  # it sees by itself that nobody waits for it
            wait_until_gone(builder)
    with start_server(data, environment=QUICK):
        assert ready(index).attempts == 4
    index.close()
    with open_services(Settings(data=data)) as services:
        (row,) = rows(services.index)
        check_blob(services, row)
    assert [path.name for path in data.iterdir() if path.name.startswith("tmp")] == []


def test_a_killed_build_is_begun_again(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"retry_seconds": 0})
    publish_two(server.services, tmp_path)
    kill(wait_for_builder(os.getpid()))
    row = ready(server.services.index)
    assert row.attempts == 2
    check_blob(server.services, row)


def test_a_build_that_hangs_is_ended_and_set_aside(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"attempts": 1, "build_seconds": 2})
    publish_two(server.services, tmp_path)
    builder = wait_for_builder(os.getpid())
    stop(builder)
    (row,) = settled(server.services)
    assert (row.state, row.reason) == (deltas.FAILED, "it took more than 2 s")
    wait_until_gone(builder)


def test_a_build_that_wants_too_much_memory_is_refused_it(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"attempts": 1, "memory_bytes": 64 << 20, "workers": 1})
    publish_two(server.services, tmp_path)
    (row,) = settled(server.services)
    assert row.state == deltas.FAILED and row.reason
    assert f"{64 << 20} bytes of memory" in row.reason


def test_a_cancelled_build_ends_at_once(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory()
    publish_two(server.services, tmp_path)
    builder = wait_for_builder(os.getpid())
    stop(builder)
    with server.client() as client:
        (job,) = client.get("/api/v1/jobs").json()["jobs"]
        client.post(f"/api/v1/jobs/{job['id']}/cancel").raise_for_status()
        wait_until_gone(builder)
        assert client.post(f"/api/v1/jobs/{job['id']}/retry").json()["state"] in deltas.ACTIVE
    assert ready(server.services.index).attempts == 1


@pytest.mark.needs("postgres")
def test_another_server_takes_over_when_the_lease_is_silent(tmp_path: Path, postgres: str) -> None:
    data = tmp_path / "data"
    settings = {**QUICK, "SMIDGEN_DATABASE": postgres, "SMIDGEN_DELTAS__LEASE_SECONDS": "3"}
    with open_services(Settings(data=data, database=postgres)) as services:
        publish_two(services, tmp_path)
        with start_server(data, environment=settings) as first:
            builder = wait_for_builder(first.process.pid)
            stop(builder)
            with start_server(data, environment=settings):
                first.kill()
                kill(builder)
                row = ready(services.index)
        assert row.attempts >= 2
        check_blob(services, row)
        assert len(rows(services.index)) == 1
    assert builders(first.process.pid) == []
