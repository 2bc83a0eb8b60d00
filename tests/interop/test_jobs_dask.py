"""Deltas made by the workers of a Dask cluster that share a PostgreSQL database and an S3 bucket with the server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smidgen_deltas.errors import SettingsError
from smidgen_server.index import deltas
from smidgen_server.services.container import open_services
from smidgen_server.settings import Settings
from support.builders import builders, go_on, stop, wait_for_builder, wait_until_gone
from support.dask_cluster import DaskCluster, start_cluster
from support.releases import settled, until
from support.server import RunningServer, run_server
from support.small_images import publish_version
from support.surface import fetch_document

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    with start_cluster(tmp_path / "dask", 2) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, cluster: DaskCluster, postgres: str, s3: dict[str, Any]) -> Iterator[RunningServer]:
    how = {"executor": f"dask://{cluster.address}", "builds": 2, "retry_seconds": 0}
    with run_server(tmp_path / "data", database=postgres, blobs=s3, deltas=how) as running:
        yield running


def test_both_workers_make_deltas_and_the_server_none(
    server: RunningServer, cluster: DaskCluster, tmp_path: Path
) -> None:
    first, second = (worker.pid for worker in cluster.workers)
    for version in (1, 2):
        publish_version(server.services, tmp_path, version)
    one = wait_for_builder(first, second)
    stop(one)  # so that the next one has to be made by the other worker
    publish_version(server.services, tmp_path, 3)
    other = second if one in builders(first) else first
    wait_for_builder(other)
    assert builders(os.getpid()) == []
    go_on(one)
    assert [row.state for row in settled(server.services)] == [deltas.READY] * 3
    with server.client() as client:
        offers = fetch_document(client, "oci/app:stable").deltas
        assert len(offers) == 2
        for offer in offers:
            offer.piece.digest.check(client.get(f"/u/blobs/{offer.piece.digest.hex}").raise_for_status().content)


def test_a_killed_worker_is_replaced_by_the_other(server: RunningServer, cluster: DaskCluster, tmp_path: Path) -> None:
    for version in (1, 2):
        publish_version(server.services, tmp_path, version)
    builder = wait_for_builder(*(worker.pid for worker in cluster.workers))
    stop(builder)
    (mine,) = (worker for worker in cluster.workers if builder in builders(worker.pid))
    mine.kill()
    mine.wait()
    go_on(builder)
    wait_until_gone(builder)
    (row,) = settled(server.services)
    assert row.state == deltas.READY, row.reason


def test_a_scheduler_that_dies_is_noticed(server: RunningServer, cluster: DaskCluster, tmp_path: Path) -> None:
    for version in (1, 2):
        publish_version(server.services, tmp_path, version)
    builder = wait_for_builder(*(worker.pid for worker in cluster.workers))
    stop(builder)
    cluster.scheduler.kill()
    (row,) = until(server.services.index, lambda found: found[0].reason is not None)
    assert row.state in deltas.ACTIVE
    wait_until_gone(builder)  # its lease is lost


def test_a_cluster_that_is_away_is_waited_for(tmp_path: Path, postgres: str, s3: dict[str, Any]) -> None:
    with start_cluster(tmp_path / "gone", 0) as gone:
        address = gone.address
    how = {"executor": f"dask://{address}", "retry_seconds": 1000}
    with run_server(tmp_path / "data", database=postgres, blobs=s3, deltas=how) as server:
        for version in (1, 2):
            publish_version(server.services, tmp_path, version)
        (row,) = until(server.services.index, lambda found: bool(found) and found[0].reason is not None)
        assert row.state == deltas.WAITING and "does not answer" in (row.reason or "")


def test_other_machines_cannot_read_sqlite(tmp_path: Path) -> None:
    with open_services(Settings(data=tmp_path, deltas={"executor": "dask://127.0.0.1:1"})) as services:
        with pytest.raises(SettingsError, match="PostgreSQL"):
            services.jobs.start(services)
