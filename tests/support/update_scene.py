"""A device at the first of two small releases, and a server that has both: what kill and power-cut tests update."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from smidgen_deltas.engine import frames
from smidgen_deltas.errors import NotFound
from smidgen_deltas.oci.layout_files import LayoutInvalid
from support.delta_offers import offer_delta
from support.device_trees import Made, make_commit, make_image, noise
from support.devices import Device, snapshot
from support.kill_points import Run, Zygote, start_zygote
from support.surface_simulator import Running, Surface, serve

FRAME: Final = 1 << 17  # raw bytes of a frame, of packs and of the delta
KINDS = ("ostree", "oci", "tree")


def files(version: int) -> dict[str, bytes]:
    """A third of the files differs from release to release. Each is smaller than a frame."""
    bodies = {f"usr/lib/file{number:02}": noise(f"file {number}", 40_000) for number in range(18)}
    bodies["usr/lib/big"] = noise("big", 100_000)
    for number, name in enumerate(bodies):
        if number % 3 == 0:
            bodies[name] = bodies[name][:5000] + noise(f"{name} {version}", 30_000) + bodies[name][35_000:]
    return {**bodies, "usr/bin/empty": b"", "usr/bin/sh": b"->bash"}


def _expected(version: int) -> dict[str, bytes | str]:
    return {name: f"-> {body[2:].decode()}" if body[:2] == b"->" else body for name, body in files(version).items()}


EXPECTED: dict[int, dict[str, bytes | str]] = {version: _expected(version) for version in (1, 2)}


def make(kind: str, version: int) -> Made:
    return make_image(files(version)) if kind == "oci" else make_commit(files(version), uid=os.geteuid())


@dataclass
class Scene:
    """root: the device, whose changes count; `words`: the pull as arguments of `smidgen`."""

    kind: str
    root: Path
    saved: Path
    zygote: Zygote
    running: Running
    words: tuple[str, ...]
    before: int  # the release that the device has, 0 for none
    changed: dict[bytes, bytes] = field(default_factory=dict)

    def reset(self) -> None:
        """The device is again as it was before the update."""
        shutil.rmtree(self.root)
        shutil.copytree(self.saved, self.root, symlinks=True)

    def pull(self, *, kill: int = 0, torn: bool = False, trace: Path | None = None) -> Run:
        return self.zygote.run(*self.words, kill=kill, torn=torn, trace=trace)

    def _after(self, option: str) -> str:
        return self.words[self.words.index(option) + 1]

    def verify(self) -> Run:
        """Hash everything in the store, with our own code."""
        return self.zygote.run("verify", self._after("--into"), "--state", self._after("--state"), "--json")

    def release(self) -> int:
        """The release that a user sees, 0 for none. Fails unless it is whole and right."""
        folder = self.saved.parent / "checked-out"
        done = self.zygote.run("checkout", self._after("--into"), folder, "--state", self._after("--state"), "--json")
        if done.status:
            nothing = {NotFound.exit} | ({LayoutInvalid.exit} if self.before == 0 else set())
            assert done.status in nothing, done.output  # a layout in the making is none yet
            return 0
        found = snapshot(folder)
        shutil.rmtree(folder)
        for version in (1, 2):
            if found == EXPECTED[version]:
                return version
        raise AssertionError(f"neither release: {sorted(found)}")

    def verified_share(self) -> float:
        """How much of what the update fetches lies on the device whole, wherever it may be: 0 to 1."""
        held = [path.read_bytes() for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]
        found = [body for body in self.changed.values() if any(body in data for data in held)]
        return sum(map(len, found)) / sum(map(len, self.changed.values()))


@contextmanager
def scene(folder: Path, kind: str, *, delta: bool, first: bool = False) -> Iterator[Scene]:
    """folder: empty; first: the device has nothing yet, in place of the first release."""
    device, work = Device(folder / "device"), folder / "work"
    device.folder.mkdir(parents=True)
    work.mkdir()
    old, new = make(kind, 1), make(kind, 2)
    ref = "oci/os:stable" if kind == "oci" else "ostree/os/stable"
    with ExitStack() as stack:
        running = stack.enter_context(serve(Surface()))
        zygote = stack.enter_context(start_zygote(device.folder, work))
        words = ("pull", running.url, ref, "--into", device.store(kind), "--state", str(device.state), "--json")
        words += ("--connections", "1", *(("--layers", "tar") if kind == "oci" else ()))
        here = Scene(kind, device.folder, work / "saved", zygote, running, words, 0 if first else 1)
        if not first:
            running.surface.publish(old.tree, old.bodies)
            done = here.pull()
            assert done.status == 0, done.output
        offers = ()
        if delta:
            saved, frames.FRAME_RAW = frames.FRAME_RAW, FRAME  # type: ignore[misc]
            offers = (offer_delta(running.surface, old, new).offer,)
            frames.FRAME_RAW = saved  # type: ignore[misc]
        running.surface.publish(new.tree, new.bodies, deltas=offers)
        known = set() if first else set(old.bodies)
        here.changed = {digest: body for digest, body in new.bodies.items() if digest not in known}
        shutil.copytree(here.root, here.saved, symlinks=True)
        yield here
