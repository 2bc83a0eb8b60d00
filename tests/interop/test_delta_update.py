"""From publishing to the device: a delta comes into being, and a device updates with it."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pytest

from smidgen_client.plan.ways import Limits
from smidgen_client.pull.request import PullResult
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import deltas
from smidgen_server.services import ingest_ostree
from smidgen_server.services.container import Services, open_services
from smidgen_server.services.tasks import no_progress
from smidgen_server.settings import Settings
from support.device_trees import noise
from support.devices import Device
from support.ostree import ostree
from support.releases import release, rows, settled, until
from support.server import RunningServer, ServerFactory
from support.small_images import publish_files
from support.surface import fetch_document

pytestmark = pytest.mark.needs("ostree")


def publish(server: RunningServer | Services, folder: Path, version: int, *, manual: bool = False) -> str:
    """Commit a release with stock ostree and publish it; the commit. manual: with a large packed file and a new one."""
    repo = folder / "origin"
    if not repo.exists():
        repo.mkdir()
        ostree(repo, "init", "--mode=archive")
    tree = release(folder / f"release{version}", version)
    if manual:
        pages = 100 * (f"edition {version}" * version + noise("pages", 60_000).hex())
        (tree / "usr/share/picture").write_bytes(noise(f"picture {version}", 150_000))
        (tree / "usr/share/manual.xz").write_bytes(lzma.compress(pages.encode()))
    commit = ostree(repo, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0").strip()
    services = server if isinstance(server, Services) else server.services
    ingest_ostree.publish(services, Repository.open(repo), "stable", "os", "stable", no_progress)
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


def test_images_are_updated_with_deltas_too(server: RunningServer, device: Device, tmp_path: Path) -> None:
    for version in (1, 2):
        publish_image(server, tmp_path, version)
        if version == 1:
            device.pull(server.url, device.store("oci"), "oci/app:stable")
    (row,) = settled(server.services)
    assert row.state == deltas.READY, row.reason
    done = device.pull(server.url, device.store("oci"), "oci/app:stable")
    assert done.delta is not None and done.delta.used, done.delta
    assert (done.requests, done.layers) == (2, ("tar",))
    assert device.run("verify", device.store("oci"))["ok"]


def publish_image(server: RunningServer, folder: Path, version: int) -> None:
    tree = release(folder / f"release{version}", version)
    files = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    publish_files(server.services, folder, files)


def test_what_was_published_without_a_server_gets_its_delta_when_one_starts(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with open_services(Settings(data=data)) as services:
        publish(services, tmp_path, 1)
        publish(services, tmp_path, 2)
        assert [row.state for row in rows(services.index)] == [deltas.WAITING]
    server = server_factory(data)
    assert [row.state for row in settled(server.services)] == [deltas.READY]


def test_a_pair_that_cannot_be_built_is_set_aside(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"attempts": 2, "retry_seconds": 0})
    publish(server, tmp_path, 1)
    with server.client() as client:
        lost = fetch_document(client, "ostree/os/stable").tree.digest
    server.services.blobs.delete(lost)
    publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    assert (row.state, row.attempts) == (deltas.FAILED, 2)
    assert row.reason and lost.hex in row.reason
    with server.client() as client:
        assert fetch_document(client, "ostree/os/stable").deltas == ()


def test_a_delta_that_saves_too_little_is_not_kept(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"keep_share": 0.001})
    publish(server, tmp_path, 1)
    publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.USELESS
    assert row.reason and "the full update costs" in row.reason


@pytest.mark.parametrize(("profile", "encodes"), [("full", True), ("small", False)])
def test_a_profile_bounds_what_is_asked_of_devices(
    server_factory: ServerFactory, tmp_path: Path, profile: str, encodes: bool
) -> None:
    server = server_factory(deltas={"profile": profile})
    publish(server, tmp_path, 1)
    publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    with server.services.index.read() as session:
        (offer,) = deltas.offers(session, row.target_id)
    assert bool(offer.cpu) == bool(offer.features) == encodes
    assert offer.memory <= 64 << 20 or encodes


def test_a_build_that_is_stopped_goes_back_to_the_queue(tmp_path: Path) -> None:
    with open_services(Settings(data=tmp_path / "data")) as services:
        publish(services, tmp_path, 1)
        publish(services, tmp_path, 2)
        services.jobs.start(services)
        (row,) = until(services.index, lambda found: found[0].state == deltas.BUILDING)
        assert row.attempts == 1  # its process has hardly started by now
        services.jobs.stop()
        (row,) = rows(services.index)
        assert (row.state, row.attempts) == (deltas.WAITING, 0)
        assert [path.name for path in (tmp_path / "data").iterdir() if path.name.startswith("tmp")] == []


def test_quick_links_and_small_devices_have_deltas_of_their_own(
    server_factory: ServerFactory, device: Device, tmp_path: Path
) -> None:
    """The smallest one packs an xz file again, for which the light one has no memory and the quick one no time."""
    server = server_factory(deltas={"light_profile": "full,memory=32M"})
    publish(server, tmp_path, 1, manual=True)
    others = {name: Device(tmp_path / name) for name in ("near", "small")}
    for one in (device, *others.values()):
        pull(one, server)
    commit = publish(server, tmp_path, 2, manual=True)
    assert {row.format: row.state for row in settled(server.services)} == dict.fromkeys(deltas.OFFERED, deltas.READY)
    with server.client() as client:
        full, quick, light = sorted(fetch_document(client, "ostree/os/stable").deltas, key=lambda one: -one.memory)
    assert full.memory > 64 << 20 and light.memory <= 32 << 20 < quick.memory
    assert quick.piece.size > full.piece.size + 50_000 and full.work > 2000 > quick.work >= light.work == 0
    for one, suited, asked in (
        (device, {full}, {"prefer": "bytes"}),
        (others["near"], {quick, light}, {"prefer": "auto", "link": 1e6}),
        (others["small"], {light}, {"prefer": "bytes", "limits": Limits(memory=32 << 20)}),
    ):
        done = pull(one, server, **asked)
        assert done.delta is not None and done.delta.used, done.delta
        assert done.delta.size in {offer.piece.size for offer in suited}
        check(one, commit)


@pytest.mark.parametrize("manual", [True, False], ids=["switched off", "not needed"])
def test_a_delta_that_suits_all_is_the_only_one(server_factory: ServerFactory, tmp_path: Path, manual: bool) -> None:  # noqa: FBT001 - a parameter
    wanted = {} if not manual else {"quick_profile": "", "light_profile": ""}
    server = server_factory(deltas=wanted)
    for version in (1, 2):
        publish(server, tmp_path, version, manual=manual)
    (row,) = settled(server.services)
    assert (row.format, row.state) == (deltas.SMIDGEN, deltas.READY)
