"""From publishing to the device: a delta comes into being, and a device updates with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smidgen_client.pull.request import PullResult
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import deltas
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.devices import Device
from support.ostree import ostree
from support.releases import release, settled
from support.server import RunningServer
from support.surface import fetch_document

pytestmark = pytest.mark.needs("ostree")


def publish(server: RunningServer, folder: Path, version: int) -> str:
    """Commit a release with stock ostree and publish it; the commit."""
    repo = folder / "origin"
    if not repo.exists():
        repo.mkdir()
        ostree(repo, "init", "--mode=archive")
    tree = release(folder / f"release{version}", version)
    commit = ostree(repo, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0").strip()
    ingest_ostree.publish(server.services, Repository.open(repo), "stable", "os", "stable", no_progress)
    return commit


def test_the_server_makes_and_offers_a_delta(server: RunningServer, tmp_path: Path) -> None:
    first, second = publish(server, tmp_path, 1), publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.READY, row.reason
    with server.client() as client:
        document = fetch_document(client, "ostree/os/stable")
        (offer,) = document.deltas
        assert (document.revision.hex, offer.sources[0].hex) == (second, first)
        assert document.version == 2
        answer = client.get(f"/u/blobs/{offer.piece.digest.hex}").raise_for_status()
        offer.piece.digest.check(answer.content)
        assert len(answer.content) == offer.piece.size < 20_000


def pull(device: Device, server: RunningServer, **request: Any) -> PullResult:
    return device.pull(server.url, f"ostree:{device.folder / 'repo'}", mode="bare-user", **request)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def updated(server: RunningServer, tmp_path: Path, device: Device) -> str:
    """The device has the first release, the server the second one and the delta; the second commit."""
    publish(server, tmp_path, 1)
    pull(device, server)
    commit = publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.READY, row.reason
    return commit


def check(device: Device, commit: str) -> None:
    repo = device.folder / "repo"
    ostree(repo, "fsck")
    assert ostree(repo, "rev-parse", "stable").strip() == commit


def test_a_device_updates_with_the_delta(server: RunningServer, device: Device, updated: str) -> None:
    planned = pull(device, server, dry_run=True)
    assert planned.delta is not None and planned.delta.used
    done = pull(device, server)
    assert done.delta is not None and done.delta.used, done.delta
    assert done.requests == 2 and done.notes == ()
    assert done.bytes_fetched <= done.delta.size + 4000
    check(device, updated)


def test_without_deltas_packs_bring_the_same(server: RunningServer, device: Device, updated: str) -> None:
    done = pull(device, server, delta=False)
    assert done.delta is not None and not done.delta.used
    check(device, updated)


@pytest.mark.parametrize("place", ["header", "last"])
def test_a_damaged_delta_is_told_and_packs_bring_the_update(
    server: RunningServer, device: Device, updated: str, place: str
) -> None:
    with server.client() as client:
        (offer,) = fetch_document(client, "ostree/os/stable").deltas
    path = server.services.blobs.local_path(offer.piece.digest)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[100 if place == "header" else -1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    done = pull(device, server)
    assert done.delta is not None and not done.delta.used
    assert "the delta failed" in done.delta.reason
    check(device, updated)


def test_a_device_that_skips_a_release_has_a_delta_too(server: RunningServer, device: Device, tmp_path: Path) -> None:
    publish(server, tmp_path, 1)
    pull(device, server)
    for version in (2, 3):
        commit = publish(server, tmp_path, version)
    assert [row.state for row in settled(server.services)] == [deltas.READY] * 3
    done = pull(device, server)
    assert done.delta is not None and done.delta.used, done.delta
    check(device, commit)
