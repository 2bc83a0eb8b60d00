"""`smidgen why` and the plan of a dry run: what is told is what was done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smidgen_deltas.native.tree import OciTree
from support.delta_offers import offer_delta
from support.device_trees import Image, Made, make_commit, make_image, noise
from support.devices import Device, snapshot
from support.surface_simulator import Running, Surface, serve

LAN, MODEM = "10Gbit", "1Mbit"


def files(version: int) -> dict[str, bytes]:
    """Some change from release to release."""
    bodies = {f"usr/lib/file{number:02}": noise(f"file {number}", 20_000) for number in range(12)}
    for name in list(bodies)[::3]:
        bodies[name] = bodies[name][:9000] + noise(f"{name} {version}", 100) + bodies[name][9000:]
    return {**bodies, "usr/bin/sh": b"->bash"}


@pytest.fixture(params=["ostree", "oci"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Scene:
    """A device at the first release; the server has the second one and a delta to it."""

    def __init__(self, device: Device, kind: str, running: Running) -> None:
        self.device, self.running = device, running
        self.store = device.store(kind)
        self.ref = "oci/os:stable" if kind == "oci" else "ostree/os/stable"
        old, new = self._made(kind, 1), self._made(kind, 2)
        running.surface.publish(old.tree, old.bodies)
        device.pull(running.url, self.store, self.ref)
        self.offer = offer_delta(running.surface, old, new).offer
        running.surface.publish(new.tree, new.bodies, deltas=(self.offer,))
        self.layer = new.tree.layers[0].size if isinstance(new.tree, OciTree) else 0
        for blob in new.blobs.values() if isinstance(new, Image) else ():
            running.surface.blob(blob)

    @staticmethod
    def _made(kind: str, version: int) -> Made:
        return make_image(files(version)) if kind == "oci" else make_commit(files(version), uid=os.geteuid())

    def pull(self, *options: str) -> dict[str, Any]:
        return self.device.run("pull", self.running.url, self.ref, "--into", self.store, *options)

    def why(self, path: str, *words: str, status: int = 0) -> dict[str, Any]:
        return self.device.run("why", path, *words, status=status)

    def to_come(self, path: str, *options: str) -> dict[str, Any]:
        return self.why(path, self.running.url, self.ref, "--into", self.store, *options)


@pytest.fixture
def scene(tmp_path: Path, kind: str) -> Iterator[Scene]:
    with serve(Surface()) as running:
        yield Scene(Device(tmp_path), kind, running)


def chosen(found: dict[str, Any]) -> dict[str, Any]:
    (only,) = (one for one in found["sources"] if one["chosen"])
    return dict(only)


def test_a_changed_file_came_from_the_delta(scene: Scene) -> None:
    done = scene.pull("--prefer", "bytes")
    assert done["delta"]["used"], done["delta"]
    found = scene.why("/usr/lib/file00")
    assert (found["how"], found["size"], found["revision"]) == ("from the delta", 20_100, done["revision"])
    assert 0 < chosen(found)["bytes"] < scene.offer.piece.size
    assert found["plan"]["considered"][found["plan"]["chosen"]]["why_not"] == ""
    others = [one for one in found["sources"] if not one["chosen"]]
    assert others and all(one["why"] for one in others)


def test_what_did_not_change_was_not_fetched(scene: Scene, kind: str) -> None:
    scene.pull("--prefer", "bytes")
    found = scene.why("usr/lib/file01", "--into", scene.store)
    assert (
        found["how"]
        == {
            "ostree": "was in the store already",
            "oci": "from another store or a seed of this device",  # the layer is another; the file in it is not
        }[kind]
    )
    assert chosen(found)["bytes"] == 0


def test_a_pull_to_come_is_explained_without_changing_anything(scene: Scene, kind: str) -> None:
    before = snapshot(scene.device.folder / ("repo" if kind == "ostree" else "layout"))
    slow = scene.to_come("usr/lib/file00", "--link", MODEM)
    assert slow["how"] == "from the delta"
    assert [one["kind"] for one in slow["plan"]["considered"]][:2] == ["delta", "packs"]
    assert all(one["seconds"] > 0 for one in slow["plan"]["considered"])
    quick = scene.to_come("usr/lib/file00", "--link", LAN, "--prefer", "time")
    assert quick["how"] == {"ostree": "from the packs", "oci": "inside a layer that comes whole"}[kind]
    assert (chosen(quick)["bytes"] == scene.layer) is (kind == "oci")
    assert snapshot(scene.device.folder / ("repo" if kind == "ostree" else "layout")) == before


def test_a_link_has_no_content(scene: Scene) -> None:
    assert "no content" in scene.why("usr/bin/sh")["how"]


def test_what_cannot_be_explained(scene: Scene, tmp_path: Path) -> None:
    assert scene.why("usr/bin/nothing", status=30)["error"]["kind"] == "PathUnknown"
    assert scene.why("usr/bin/sh", scene.running.url, status=2)["error"]["exit"] == 2
    assert Device(tmp_path / "new").run("why", "usr/bin/sh", status=30)["error"]["kind"] == "NotFound"


def test_a_dry_run_tells_every_way(scene: Scene) -> None:
    planned = scene.pull("--dry-run", "--link", MODEM)
    ways = planned["plan"]["considered"]
    assert ways[planned["plan"]["chosen"]]["kind"] == "delta"
    assert planned["bytes_planned"] == ways[planned["plan"]["chosen"]]["bytes"] == scene.offer.piece.size
    assert all((one["why_not"] == "") is (at == planned["plan"]["chosen"]) for at, one in enumerate(ways))


def test_a_device_with_little_memory_takes_no_delta(scene: Scene) -> None:
    done = scene.pull("--max-memory", "1")
    assert not done["delta"]["used"]
    assert "bytes of memory, 1 are allowed" in done["delta"]["reason"]


@pytest.mark.parametrize("kind", ["oci"], indirect=True)
def test_over_a_fast_link_a_layer_comes_whole(scene: Scene) -> None:
    done = scene.pull("--prefer", "time", "--link", LAN, "--no-delta")
    assert done["layers"] == ["whole"]
    assert scene.device.run("verify", scene.store)["ok"]
