"""What is compared over a slow link: one update, prepared for every tool, and devices that are at the old version.

Everything is made once per corpus and kept: deltas take long. Measured runs work on copies of the devices.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import run
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_benchmarks.service import Service, serving
from smidgen_benchmarks.tree_peers import commit_tar, unpacked
from smidgen_benchmarks.update import REF, image_of_tar

REFS: Final = {"ostree": f"ostree/bench/{REF}", "oci": "oci/bench:stable"}
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """Places below `folder`. static: an archive repository with ostree's static delta; data: of our server."""

    pair: Pair
    folder: Path

    @property
    def static(self) -> Path:
        return self.folder / "static"

    @property
    def tar_diff(self) -> Path:
        return self.folder / "tar.diff"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def old_tree(self) -> Path:
        return unpacked(self.pair.old)

    def store(self, kind: str) -> str:
        """Our target on the device that `device` gives; its state lies beside it."""
        place = self.folder / "device" / kind
        return f"oci:{place}/layout:stable" if kind == "oci" else f"ostree:{place}/repo"

    def device(self, name: str) -> Path:
        """A fresh copy of a device at the old version; always at the same place, which its state names."""
        device = self.folder / "device" / name
        shutil.rmtree(device, ignore_errors=True)
        device.parent.mkdir(exist_ok=True)
        run(["cp", "-a", self.folder / "devices" / name, device])
        return device

    def keep(self, name: str) -> None:
        """What was made at the place of a device is how it begins from now on."""
        target = self.folder / "devices" / name
        target.parent.mkdir(exist_ok=True)
        (self.folder / "device" / name).rename(target)


def prepare(pair: Pair, folder: Path, say: Say) -> Scene:
    """Make what is not there yet. Tools that are not installed make nothing."""
    scene = Scene(pair, folder)
    folder.mkdir(parents=True, exist_ok=True)
    steps: tuple[tuple[Path, str, Callable[[Scene, Say], None]], ...] = (
        (scene.static, "ostree's static delta", _static_delta),
        (folder / "devices" / "stock", "a device of stock ostree", _stock_device),
        (scene.tar_diff, "tar-diff's delta", _tar_diff),
        (scene.images, "images", _images),
        (scene.data, "our deltas", _publish),
    )
    for result, what, make in steps:
        if not result.exists():
            say(f"making {what}")
            make(scene, say)
    return scene


def _static_delta(scene: Scene, _: Say) -> None:
    repo = scene.static.with_name("static.part")
    shutil.rmtree(repo, ignore_errors=True)
    run(["ostree", "init", f"--repo={repo}", "--mode=archive"])
    commit_tar(repo, "old", scene.pair.old, REF)
    commit_tar(repo, "new", scene.pair.new, REF)
    run(["ostree", "static-delta", "generate", f"--repo={repo}", "--from=old", "--to=new"])
    run(["ostree", "summary", f"--repo={repo}", "-u"])
    repo.rename(scene.static)


def _stock_device(scene: Scene, _: Say) -> None:
    repo = scene.folder / "device" / "stock" / "repo"
    shutil.rmtree(repo.parent, ignore_errors=True)
    repo.parent.mkdir(parents=True)
    run(["ostree", "init", f"--repo={repo}", "--mode=bare-user"])
    run(["ostree", "pull-local", f"--repo={repo}", scene.static, "old"])
    scene.keep("stock")


def _tar_diff(scene: Scene, _: Say) -> None:
    part = scene.tar_diff.with_name("tar.diff.part")
    if shutil.which("tar-diff"):
        run(["tar-diff", "-compression-level=19", scene.pair.old, scene.pair.new, part])
        part.rename(scene.tar_diff)


def _images(scene: Scene, _: Say) -> None:
    layout = scene.images.with_name("images.part")
    shutil.rmtree(layout, ignore_errors=True)
    for version, tar in (("old", scene.pair.old), ("new", scene.pair.new)):
        image_of_tar(tar, layout, version)
    layout.rename(scene.images)


def _publish(scene: Scene, say: Say) -> None:
    """Both versions at a server of ours; between them a device gets the first one, as commit and as image."""
    data = scene.data.with_name("data.part")
    shutil.rmtree(data, ignore_errors=True)
    with serving(data, scene.folder / "server.log") as service:
        publish(scene, service, "old")
        install(scene, service)
        say("waiting until the server has made its deltas")
        publish(scene, service, "new")
        service.settle()
    data.rename(scene.data)


def publish(scene: Scene, service: Service, version: str) -> None:
    """One version as commit and as image."""
    token: list[str | Path] = ["--server", service.url, "--token-file", service.token_file]
    run([*SMIDGEN, "publish", f"ostree:{scene.static}@{version}", f"bench/{REF}", *token])
    run([*SMIDGEN, "publish", f"oci:{scene.images}:{version}", REFS["oci"].removeprefix("oci/"), *token])


def install(scene: Scene, service: Service) -> None:
    """Devices of ours, and one of skopeo, at what the server has."""
    for kind, ref in REFS.items():
        place = scene.folder / "device" / kind
        for stale in (place, scene.folder / "devices" / kind):
            shutil.rmtree(stale, ignore_errors=True)
        place.mkdir(parents=True)
        run([*SMIDGEN, "pull", service.url, ref, "--into", scene.store(kind), "--state", place / "state"])
        scene.keep(kind)
    skopeo = scene.folder / "devices" / "skopeo"
    shutil.rmtree(skopeo, ignore_errors=True)
    run(["skopeo", "copy", f"oci:{scene.images}:old", f"oci:{skopeo}:stable"])
