"""A pull from a bundle is killed while it writes: the device keeps what it had, and the same command ends the work."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from smidgen_deltas.native.bundle import Entry, encode_head
from support.delta_offers import offer_delta
from support.devices import Device, snapshot
from support.kill_points import Zygote, start_zygote
from support.surface_simulator import DAY, Surface
from support.update_scene import EXPECTED, make

REFS = {"ostree": "ostree/os/stable", "oci": "oci/os:stable"}


def write_bundle(path: Path, surface: Surface) -> None:
    """All files of a surface in one."""
    now = int(time.time())
    entries = [Entry(name, len(body), hashlib.sha256(body).digest()) for name, body in surface.files.items()]
    path.write_bytes(encode_head(entries, now, now + DAY, [surface.key]) + b"".join(surface.files.values()))


def pull(device: Device, bundle: Path, kind: str) -> list[str | Path]:
    return ["pull", f"bundle:{bundle}", REFS[kind], "--into", device.store(kind), "--state", device.state, "--json"]


def release(zygote: Zygote, device: Device, kind: str, folder: Path) -> int:
    """The release that a user sees; it is whole."""
    done = zygote.run("checkout", device.store(kind), folder, "--state", device.state, "--json")
    assert done.status == 0, done.output
    found = snapshot(folder)
    return next(version for version, files in EXPECTED.items() if files == found)


@pytest.mark.parametrize("kind", ["ostree", "oci"])
def test_killed_and_run_again(tmp_path: Path, kind: str) -> None:
    device, work = Device(tmp_path / "device"), tmp_path / "work"
    device.folder.mkdir()
    work.mkdir()
    old, new = make(kind, 1), make(kind, 2)
    surface, first, second = Surface(), tmp_path / "first", tmp_path / "second"
    surface.publish(old.tree, old.bodies)
    write_bundle(first, surface)
    offer = offer_delta(surface, old, new).offer
    surface.publish(new.tree, new.bodies, deltas=(offer,), packs=None)
    write_bundle(second, surface)
    with start_zygote(device.folder, work) as zygote:
        before = zygote.run(*pull(device, first, kind))
        assert before.status == 0, before.output
        words = pull(device, second, kind)
        for kill in (3, 12, 25):
            assert zygote.run(*words, kill=kill).killed
            assert release(zygote, device, kind, work / f"killed{kill}") == 1
        done = zygote.run(*words)
        assert done.status == 0, done.output
        assert release(zygote, device, kind, work / "done") == 2
        assert zygote.run("verify", device.store(kind), "--state", device.state, "--json").status == 0
