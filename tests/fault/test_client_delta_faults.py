"""Updates by delta into every kind of store, and what can be wrong with one: packs then bring the update, and the
reason is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smidgen_client.pull.request import PullResult
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine import frames
from smidgen_deltas.errors import TransportError
from support.delta_offers import Offered, offer_delta
from support.device_trees import Made, make_commit, make_image, noise
from support.devices import Device, snapshot
from support.surface_simulator import Fault, Running, Surface, serve

KINDS = ["ostree", "oci", "tree"]
BLOBS = "u/blobs/"


def files(version: int) -> dict[str, bytes]:
    """A third of the files grows a little from release to release; one of them is large."""
    bodies = {f"usr/lib/file{number:02}": noise(f"file {number}", 12_000) for number in range(30)}
    bodies["usr/lib/big"] = noise("big", 3 << 20)
    for number, name in enumerate(bodies):
        if number % 3 == 0:
            bodies[name] = bodies[name][:5000] + noise(f"{name} {version}", 200) + bodies[name][5000:]
    return {**bodies, "usr/bin/empty": b"", "usr/bin/sh": b"->bash"}


def made(kind: str, version: int) -> Made:
    return make_image(files(version)) if kind == "oci" else make_commit(files(version), uid=os.geteuid())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Scene:
    """A device at the first release, a server at the second one that offers a delta."""

    def __init__(self, device: Device, kind: str, running: Running) -> None:
        self.device, self.kind, self.running = device, kind, running
        old, self._new = made(kind, 1), made(kind, 2)
        surface = running.surface
        surface.publish(old.tree, old.bodies)
        self.pull()
        self.offered: Offered = offer_delta(surface, old, self._new)
        self.offer()

    @property
    def delta(self) -> str:
        """Path of the delta's blob."""
        return f"{BLOBS}{self.offered.offer.piece.digest.hex}"

    def offer(self, **changes: Any) -> None:
        offer = replace(self.offered.offer, **changes)
        self.running.surface.publish(self._new.tree, self._new.bodies, deltas=(offer,))
        self.running.log.clear()

    def pull(self, **request: Any) -> PullResult:
        ref = "oci/os:stable" if self.kind == "oci" else "ostree/os/stable"
        return self.device.pull(self.running.url, self.device.store(self.kind), ref, **request)

    def check(self) -> None:
        """The store has all of the second release and is right."""
        assert self.device.run("verify", self.device.store(self.kind))["ok"]
        folder = self.device.folder / "checked-out"
        self.device.run("checkout", self.device.store(self.kind), folder)
        expected = {name: f"-> {body[2:].decode()}" if body[:2] == b"->" else body for name, body in files(2).items()}
        assert snapshot(folder) == expected

    def packs_asked(self) -> int:
        return sum(one.path.startswith(BLOBS) and one.path != self.delta for one in self.running.log)


@pytest.fixture
def scene(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(frames, "FRAME_RAW", 20_000)
    with serve(Surface()) as running:
        yield Scene(Device(tmp_path), kind, running)


def test_an_update_takes_one_request_for_the_delta(scene: Scene) -> None:
    assert len(scene.offered.header.frames) > 3
    done = scene.pull()
    assert done.delta is not None and done.delta.used, done.delta
    assert (scene.packs_asked(), done.notes) == (0, ())
    assert done.requests == 2
    assert done.bytes_fetched < scene.offered.offer.piece.size + 2000
    scene.check()
    assert not list((scene.device.state / "deltas").iterdir())
    assert scene.pull().unchanged


def test_a_dry_run_says_what_would_be_chosen(scene: Scene) -> None:
    before = snapshot(scene.device.folder / "state" / "trees")
    planned = scene.pull(dry_run=True)
    assert planned.delta is not None and planned.delta.used and "packs:" in planned.delta.reason
    assert planned.bytes_planned == scene.offered.offer.piece.size
    assert snapshot(scene.device.folder / "state" / "trees") == before
    off = scene.pull(dry_run=True, delta=False)
    assert off.delta is not None and not off.delta.used


def test_switched_off_it_is_not_asked_for(scene: Scene) -> None:
    done = scene.pull(delta=False)
    assert done.delta is not None and not done.delta.used
    assert scene.running.requests(scene.delta) == 0
    scene.check()


@pytest.mark.parametrize("place", ["magic", "header", "document", "middle", "last"])
def test_a_damaged_delta_falls_back_to_packs(scene: Scene, place: str) -> None:
    offered = scene.offered
    offsets = {
        "magic": 3,
        "header": offered.start - 5,
        "document": offered.start + 5,
        "middle": offered.frame(2) + 5,
        "last": offered.offer.piece.size - 1,
    }
    scene.running.faults.append(Fault("flip", match=scene.delta, times=-1, at=offsets[place]))
    done = scene.pull()
    assert done.delta is not None and not done.delta.used
    assert "the delta failed" in done.delta.reason
    assert scene.packs_asked() > 0
    scene.check()


def test_a_delta_that_is_gone_falls_back_to_packs(scene: Scene) -> None:
    del scene.running.surface.files[scene.delta]
    done = scene.pull()
    assert done.delta is not None and "the delta failed" in done.delta.reason
    scene.check()


def test_a_delta_that_cannot_be_applied_here_is_not_asked_for(scene: Scene) -> None:
    scene.offer(features=("time-travel-7",))
    done = scene.pull()
    assert done.delta is not None and "time-travel-7" in done.delta.reason
    assert scene.running.requests(scene.delta) == 0
    scene.check()


def test_a_delta_from_elsewhere_is_not_asked_for(scene: Scene) -> None:
    scene.offer(sources=(Digest.of(b"another"),))
    done = scene.pull()
    assert done.delta is not None and "not pulled by this device" in done.delta.reason
    assert scene.running.requests(scene.delta) == 0
    scene.check()


def test_an_interrupted_delta_goes_on_at_a_frame(scene: Scene) -> None:
    stop = scene.offered.frame(2) + 10
    scene.running.faults += [
        Fault("truncate", match=scene.delta, at=stop),
        Fault("status", match=scene.delta, times=-1, status=503),
    ]
    with pytest.raises(TransportError):
        scene.pull()
    scene.running.faults.clear()
    scene.running.log.clear()
    done = scene.pull()
    assert done.delta is not None and done.delta.used, done.delta
    (asked,) = [one for one in scene.running.log if one.path == scene.delta]
    assert asked.range == f"bytes={scene.offered.frame(2)}-{scene.offered.offer.piece.size - 1}"
    assert scene.packs_asked() <= 1  # the map: a part is here, so packs might have been less
    scene.check()


def test_a_lost_connection_is_gone_on_with(scene: Scene) -> None:
    stop = scene.offered.frame(2) + 10
    scene.running.faults.append(Fault("truncate", match=scene.delta, at=stop))
    done = scene.pull()
    assert done.delta is not None and done.delta.used, done.delta
    asked = [one.range for one in scene.running.log if one.path == scene.delta]
    assert asked == [None, f"bytes={stop}-{scene.offered.offer.piece.size - 1}"]
    scene.check()


def test_the_command_tells_what_became_of_the_delta(scene: Scene) -> None:
    ref = "oci/os:stable" if scene.kind == "oci" else "ostree/os/stable"
    words = ("pull", scene.running.url, ref, "--into", scene.device.store(scene.kind))
    assert not scene.device.run(*words, "--dry-run", "--no-delta")["delta"]["used"]
    told = scene.device.run(*words)["delta"]
    assert told["used"] and told["size"] == scene.offered.offer.piece.size
