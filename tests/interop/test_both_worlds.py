"""Files of one world are sources for the other: a commit's for an image, an image's for a commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from smidgen_client.pull.request import PullResult
from smidgen_deltas.native.tree import OciTree
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import deltas
from smidgen_server.services import ingest_oci, ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.device_trees import make_image
from support.devices import Device
from support.ostree import ostree
from support.releases import release, settled
from support.server import RunningServer

pytestmark = pytest.mark.needs("ostree", "skopeo")

IMAGE, COMMIT = "oci/app:stable", "ostree/os/stable"


class Publisher:
    """Publishes releases of one tree as images and as commits."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        (folder / "origin").mkdir(parents=True)
        ostree(folder / "origin", "init", "--mode=archive")

    def _tree(self, version: int) -> Path:
        return release(self._folder / f"release{version}", version)

    def commit(self, version: int) -> None:
        repo = self._folder / "origin"
        tree = f"--tree=dir={self._tree(version)}"
        ostree(repo, "commit", "--branch=stable", tree, "--owner-uid=0", "--owner-gid=0")
        services = self._server.services
        ingest_ostree.publish(services, Repository.open(repo), "stable", "os", "stable", no_progress)

    def image(self, version: int) -> None:
        tree = self._tree(version)
        files = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
        image = make_image(files)
        assert isinstance(image.tree, OciTree)
        writer = LayoutWriter.open_or_create(self._folder / f"layout{version}")
        for body in (*(one.body for one in (*image.tree.manifests, *image.tree.blobs)), *image.blobs.values()):
            writer.put_bytes(body)
        (root,) = image.tree.manifests
        writer.set_ref("built", Descriptor(root.media_type, root.digest, len(root.body), {}))
        layout = Layout.open(self._folder / f"layout{version}")
        ingest_oci.publish(self._server.services, layout, "built", "app", "stable", no_progress)


class Machine:
    """A device with an ostree repository and an OCI layout."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._device = Device(folder)

    def pull(self, ref: str) -> PullResult:
        if ref == IMAGE:
            return self._device.pull(self._server.url, self._device.store("oci"), ref)
        return self._device.pull(self._server.url, self._device.store("ostree"), ref, mode="bare-user")

    def check(self) -> None:
        """The stock tools find both stores right."""
        ostree(self._folder / "repo", "fsck")
        checked = self._folder / "checked"
        subprocess.run(
            ["skopeo", "copy", f"oci:{self._folder / 'layout'}:stable", f"dir:{checked}"],
            check=True,
            capture_output=True,
        )
        shutil.rmtree(checked)

    def lose_layers(self) -> None:
        """Every large blob of the layout is gone; the image was removed, say."""
        for path in (self._folder / "layout" / "blobs" / "sha256").iterdir():
            if path.stat().st_size > 100_000:
                path.unlink()


@pytest.fixture
def publisher(server: RunningServer, tmp_path: Path) -> Publisher:
    return Publisher(server, tmp_path / "published")


@pytest.fixture
def machine(server: RunningServer, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "device")


def test_each_world_takes_the_files_of_the_other(publisher: Publisher, machine: Machine) -> None:
    publisher.commit(1)
    publisher.image(1)
    assert machine.pull(COMMIT).contents_fetched > 0
    first = machine.pull(IMAGE)
    assert (first.contents_fetched, first.contents_seeded) == (0, first.contents_total)
    assert first.layers == ("tar",)
    publisher.image(2)
    assert machine.pull(IMAGE).contents_fetched > 0
    publisher.commit(2)
    second = machine.pull(COMMIT)
    assert (second.contents_fetched, second.delta and second.delta.used) == (0, False)
    assert second.contents_seeded > 0
    machine.check()


def test_a_delta_is_applied_to_files_of_the_other_world(
    server: RunningServer, publisher: Publisher, machine: Machine
) -> None:
    publisher.image(1)
    publisher.commit(1)
    machine.pull(IMAGE)
    machine.pull(COMMIT)
    machine.lose_layers()
    publisher.image(2)
    assert [row.state for row in settled(server.services)] == [deltas.READY]
    done = machine.pull(IMAGE)
    assert done.delta is not None and done.delta.used, done.delta
    assert done.notes == ()
    machine.check()
