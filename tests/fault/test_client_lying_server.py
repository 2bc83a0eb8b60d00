"""A server that lies: bytes of what a client trusts are changed in turn, answers have a wrong status, range or length.

Every lie is refused with a typed error that names what was wrong, or the update steps down from the delta to the packs;
the release that a user sees stays the old one or is the new one, whole. With the truth told, the update completes.
LIES=4096 in the environment changes every byte of every file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from smidgen_client.names import Address
from smidgen_client.progress import Silent
from smidgen_client.pull.request import PullResult
from smidgen_client.state.state import open_state
from smidgen_client.stores.choose import open_store
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.ostree.repo import Repository
from support.delta_offers import offer_delta
from support.device_trees import Made, make_commit, make_image, noise
from support.devices import Device
from support.surface_simulator import Fault, FaultKind, Running, Surface, serve

KINDS = ("ostree", "oci", "tree")
STATUSES = (204, 206, 301, 302, 304, 400, 401, 403, 404, 410, 416, 418, 429, 500, 503, 599)
MOST = {"ostree": 100, "oci": 25, "tree": 25}  # changed bytes of a file; stores share what checks them
TRUTH_EVERY = 7
ENDLESS = ("flood", "stall", "gone", "flip", "status")  # need a clock of their own, or are elsewhere in this file


def files(version: int) -> dict[str, bytes]:
    bodies = {f"usr/lib/file{number}": noise(f"file {number}", 900) for number in range(6)}
    return {name: body[:300] + noise(f"{name} {version}", 100) + body[400:] for name, body in bodies.items()}


def make(kind: str, version: int) -> Made:
    return make_image(files(version)) if kind == "oci" else make_commit(files(version), uid=os.geteuid())


@dataclass
class Scene:
    """trusted: what an honest update reads, by a word for it."""

    kind: str
    device: Device
    saved: Path
    running: Running
    old: str
    new: str
    trusted: dict[str, str]

    def pull(self) -> PullResult:
        options = {"layers": "tar"} if self.kind == "oci" else {}
        ref = "oci/os:stable" if self.kind == "oci" else "ostree/os/stable"
        return self.device.pull(self.running.url, self.device.store(self.kind), ref, **options)

    def reset(self) -> None:
        shutil.rmtree(self.device.folder)
        shutil.copytree(self.saved, self.device.folder, symlinks=True)

    def seen(self) -> str:
        """What names the release that a user sees."""
        if self.kind == "ostree":
            return Repository.open(self.device.folder / "repo").refs()["stable"].hex()
        if self.kind == "tree":
            return str((self.device.folder / "tree/current").readlink())
        return (self.device.folder / "layout/index.json").read_text()

    def check(self, expected: str) -> None:
        assert self.seen() == expected
        with open_state(self.device.state) as state:
            found = open_store(Address.parse(self.device.store(self.kind)), state.stores).verify(Silent())
        assert found.ok, found

    def lie(self, fault: Fault, *, then_truth: bool) -> None:
        """One update with the lie, and perhaps one without, from what the first one left."""
        self.reset()
        self.running.faults[:] = [fault]
        try:
            done = self.pull()
        except SmidgenError as error:
            assert error.message and error.exit, error
            self.check(self.old)
        else:  # not on the way this update takes, a step down the ladder, or "unchanged", which is true until expiry
            self.check(self.old if done.unchanged else self.new)
        if then_truth:
            self.running.faults.clear()
            self.pull()
            self.check(self.new)


@contextmanager
def scene(folder: Path, kind: str, *, delta: bool) -> Iterator[Scene]:
    device, saved = Device(folder / "device"), folder / "saved"
    device.folder.mkdir(parents=True)
    old, new = make(kind, 1), make(kind, 2)
    with serve(Surface()) as running:
        here = Scene(kind, device, saved, running, "", "", {})
        running.surface.publish(old.tree, old.bodies)
        here.pull()
        here.old = here.seen()
        shutil.copytree(device.folder, saved, symlinks=True)
        offers = (offer_delta(running.surface, old, new).offer,) if delta else ()
        running.surface.publish(new.tree, new.bodies, deltas=offers)
        running.log.clear()
        here.pull()
        here.new = here.seen()
        here.trusted = {one.path: one.path for one in running.log}
        yield here


def each_byte(here: Scene, most: int) -> Iterator[Fault]:
    """A change of every byte of every file that is read; of larger ones of about `most` bytes, evenly spread."""
    for path in here.trusted:
        size = len(here.running.surface.files[path])
        for at in range(0, size, max(size // most, 1)):
            yield Fault("flip", match=path, at=at, times=-1)


def each_status(here: Scene, most: int) -> Iterator[Fault]:  # noqa: ARG001 - as each_byte
    for path in here.trusted:
        for status in STATUSES:
            yield Fault("status", match=path, status=status, times=-1)


def each_form(here: Scene, most: int) -> Iterator[Fault]:  # noqa: ARG001 - as each_byte
    """Wrong ranges, lengths and encodings."""
    for path in here.trusted:
        for kind in get_args(FaultKind):
            if kind not in ENDLESS:
                yield Fault(kind, match=path, times=-1, at=len(here.running.surface.files[path]) // 2)


LIES: dict[str, Callable[[Scene, int], Iterator[Fault]]] = {"byte": each_byte, "status": each_status, "form": each_form}


@pytest.mark.parametrize("what", LIES)
@pytest.mark.parametrize("delta", [False, True], ids=["packs", "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_lie_is_believed(tmp_path: Path, kind: str, delta: bool, what: str) -> None:  # noqa: FBT001
    most = int(os.environ.get("LIES", MOST[kind]))
    with scene(tmp_path, kind, delta=delta) as here:
        lies = list(LIES[what](here, most))
        assert len(lies) > 10
        for number, fault in enumerate(lies):
            here.lie(fault, then_truth=number % TRUTH_EVERY == 0)


def test_a_lie_about_the_delta_ends_with_the_packs(tmp_path: Path) -> None:
    with scene(tmp_path, "ostree", delta=True) as here:
        (delta,) = [path for path in here.trusted if path.startswith("u/blobs/")]
        size = len(here.running.surface.files[delta])
        for at in range(0, size, max(size // MOST["ostree"], 1)):
            here.reset()
            here.running.faults[:] = [Fault("flip", match=delta, at=at, times=-1)]
            done = here.pull()
            assert done.delta is not None and not done.delta.used and "the delta failed" in done.delta.reason
            here.check(here.new)
