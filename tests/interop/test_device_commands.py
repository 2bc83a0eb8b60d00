"""What the owner of a device does with what was pulled, each command held against the stock tools."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from smidgen_client.cli import run
from support.ostree import ostree
from support.releases import release
from support.server import RunningServer

pytestmark = pytest.mark.needs("ostree", "skopeo")
COMMIT, IMAGE = "ostree/os/stable", "oci/os:stable"


class Desk:
    """A publisher and a device in one folder; commands run in this process, as the program runs them."""

    def __init__(self, server: RunningServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.server, self.folder, self._capsys = server, folder, capsys
        self.repo, self.layout, self.tree = (f"{kind}:{folder / kind}" for kind in ("ostree", "oci", "tree"))
        self.layout += ":stable"
        ostree(folder / "origin", "init", "--mode=bare-user")

    def smidgen(self, *words: str, status: int = 0) -> dict[str, Any]:
        """The last line of JSON of a command, which must end with `status`."""
        found = run([*words, "--json"])
        said = self._capsys.readouterr()
        assert found == status, said.err
        result: dict[str, Any] = json.loads(said.out.splitlines()[-1])
        return result

    def release(self, version: int) -> Path:
        return release(self.folder / f"release{version}", version)

    def commit(self, version: int) -> str:
        """Commit with stock ostree and publish over HTTP; the checksum."""
        tree = f"--tree=dir={self.release(version)}"
        made = ostree(
            self.folder / "origin", "commit", "--branch=stable", tree, "--owner-uid=0", "--owner-gid=0"
        ).strip()
        self.publish(f"ostree:{self.folder / 'origin'}@stable", "os/stable")
        return made

    def publish(self, source: str, name: str) -> dict[str, Any]:
        token = self.folder / "token"
        token.write_text(f"{self.server.token}\n")
        return self.smidgen("publish", source, name, "--server", self.server.url, "--token-file", str(token))

    def archive(self, version: int) -> Path:
        """A tar of an image layout, as `skopeo copy … oci-archive:` writes it."""
        layer, target = self.folder / "layer.tar", self.folder / f"image{version}.tar"
        with tarfile.open(layer, "w") as tar:
            tar.add(self.release(version), arcname=".")
        seed = self.folder / f"docker{version}"
        seed.mkdir()
        config = {"architecture": "amd64", "os": "linux", "config": {}}
        config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"]}
        (seed / "config.json").write_text(json.dumps(config))
        layer.rename(seed / "layer.tar")
        (seed / "manifest.json").write_text(
            json.dumps([{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}])
        )
        packed = self.folder / f"docker{version}.tar"
        with tarfile.open(packed, "w") as tar:
            for name in ("config.json", "layer.tar", "manifest.json"):
                tar.add(seed / name, arcname=name)
        skopeo(f"docker-archive:{packed}", f"oci-archive:{target}:stable")
        return target

    def pull(self, ref: str, into: str, *more: str) -> dict[str, Any]:
        return self.smidgen("pull", self.server.url, ref, "--into", into, *more)


@pytest.fixture
def desk(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.setenv("SMIDGEN_STATE", str(tmp_path / "state"))
    return Desk(server, tmp_path, capsys)


def skopeo(source: str, target: str) -> None:
    subprocess.run(["skopeo", "copy", "--quiet", source, target], check=True, capture_output=True)


def same_files(one: Path, other: Path) -> None:
    subprocess.run(["diff", "--recursive", "--no-dereference", one, other], check=True, capture_output=True)


def test_a_commit_from_version_to_version_and_back(desk: Desk) -> None:
    first = desk.commit(1)
    for store in (desk.repo, desk.tree):
        desk.pull(COMMIT, store, *(["--mode", "bare-user"] if store == desk.repo else []))
    second = desk.commit(2)
    newer = {one["store"]: one["newer"] for one in desk.smidgen("status", "--check")["stores"]}
    assert newer == {desk.repo: f"sha256:{second}", desk.tree: f"sha256:{second}"}
    for store in (desk.repo, desk.tree):
        assert desk.pull(COMMIT, store)["stored"] == second
    assert {one["revision"] for one in desk.smidgen("status")["stores"]} == {f"sha256:{second}"}

    repo, current = desk.folder / "ostree", desk.folder / "tree/current"
    for version, commit in ((1, first), (2, second)):  # the version before the one before is the last one again
        for store in (desk.repo, desk.tree):
            desk.smidgen("rollback", store)
        assert ostree(repo, "rev-parse", "stable").strip() == commit
        same_files(current.resolve(), desk.folder / f"release{version}")
    assert "no errors" in ostree(repo, "fsck")


def test_pinned_versions_outlive_a_clean_up(desk: Desk) -> None:
    first = desk.commit(1)
    desk.pull(COMMIT, desk.repo, "--mode", "bare-user")
    second = desk.commit(2)
    desk.pull(COMMIT, desk.repo)
    repo = desk.folder / "ostree"
    planned = desk.smidgen("gc", desk.repo, "--keep", "1", "--dry-run")["stores"][0]
    assert planned["objects"] > 0
    desk.smidgen("gc", desk.repo, "--keep", "1", "--pin", first)
    ostree(repo, "ls", "-R", first)
    assert desk.smidgen("status")["pins"]
    removed = desk.smidgen("gc", desk.repo, "--keep", "1", "--unpin", first)["stores"][0]
    assert (removed["objects"], removed["bytes"]) == (planned["objects"], planned["bytes"])
    assert subprocess.run(["ostree", f"--repo={repo}", "show", first], capture_output=True).returncode != 0
    assert "no errors" in ostree(repo, "fsck")
    desk.smidgen("checkout", desk.repo, str(desk.folder / "out"))
    same_files(desk.folder / "out", desk.folder / "release2")
    desk.smidgen("rollback", desk.repo, status=30)
    assert ostree(repo, "rev-parse", "stable").strip() == second


def test_an_image_from_an_archive_to_a_layout_and_back(desk: Desk) -> None:
    for version in (1, 2):
        desk.publish(f"oci:{desk.archive(version)}:stable", "os:stable")
        desk.pull(IMAGE, desk.layout)
    desk.smidgen("verify", desk.layout)
    skopeo(f"oci:{desk.folder / 'oci'}:stable", f"dir:{desk.folder / 'dir'}")
    desk.smidgen("checkout", desk.layout, str(desk.folder / "out"))
    same_files(desk.folder / "out", desk.folder / "release2")
    desk.smidgen("rollback", desk.layout)
    desk.smidgen("checkout", desk.layout, str(desk.folder / "out1"))
    same_files(desk.folder / "out1", desk.folder / "release1")


@pytest.mark.parametrize("kind", ["ostree", "oci", "folder", "containers"])
def test_nothing_is_fetched_that_a_seed_has(desk: Desk, kind: str) -> None:
    desk.commit(1)
    seed = {
        "ostree": lambda: f"ostree:{desk.folder / 'origin'}",
        "oci": lambda: f"oci:{unpacked(desk)}",
        "folder": lambda: f"folder:{desk.folder / 'release1'}",
        "containers": lambda: f"containers:{storage(desk)}",
    }[kind]()
    added = desk.smidgen("seed", "add", seed)
    assert added["hashed"] > 0
    assert desk.smidgen("seed", "add", seed)["hashed"] == 0
    pulled = desk.pull(COMMIT, desk.repo, "--mode", "bare-user")
    assert (pulled["contents_seeded"], pulled["contents_fetched"]) == (pulled["contents_total"], 0)
    assert "no errors" in ostree(desk.folder / "ostree", "fsck")
    desk.smidgen("seed", "remove", seed)
    assert desk.smidgen("seed", "list")["seeds"] == []


def unpacked(desk: Desk) -> Path:
    """A layout by skopeo, its layer compressed."""
    target = desk.folder / "seed"
    skopeo(f"oci-archive:{desk.archive(1)}:stable", f"oci:{target}:stable")
    return target


def storage(desk: Desk) -> Path:
    """podman's storage with the image in it."""
    root = desk.folder / "storage"
    options = f"vfs@{root}+{desk.folder / 'run'}"
    skopeo(f"oci-archive:{desk.archive(1)}:stable", f"containers-storage:[{options}]localhost/os:stable")
    return root


@pytest.mark.needs("root")
def test_a_pulled_commit_is_deployed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments")  # else what it makes cannot be removed
    system = desk.release(1)
    kernel = system / "usr/lib/modules/6.1.0-9"
    kernel.mkdir(parents=True)
    for name in ("vmlinuz", "initramfs.img"):
        (kernel / name).write_bytes(name.encode())
    (system / "usr/etc").mkdir()
    (system / "usr/lib/os-release").write_text("ID=toy\nVERSION_ID=1\n")
    commit = desk.commit(1)
    root = desk.folder / "sysroot"
    root.mkdir()
    admin = ["ostree", "admin", f"--sysroot={root}"]
    for words in (["init-fs", str(root)], ["os-init", "toy"]):
        subprocess.run([*admin, *words], check=True, capture_output=True)
    desk.pull(COMMIT, f"ostree:{root / 'ostree/repo'}")
    subprocess.run([*admin, "deploy", "--os=toy", "stable"], check=True, capture_output=True)
    status = subprocess.run([*admin, "status"], check=True, capture_output=True, text=True).stdout
    assert commit in status
    same_files(root / f"ostree/deploy/toy/deploy/{commit}.0/usr/lib/modules", system / "usr/lib/modules")


USER = """
import os, sys
from support.zygote_client import run
import encodings.idna, stringprep
os.setgroups([]), os.setgid(65534), os.setuid(65534)
for line in sys.stdin.read().splitlines():
    if status := run(line.split()):
        sys.exit(status)
"""


@pytest.mark.needs("root")
def test_a_user_pulls_verifies_and_checks_out(desk: Desk) -> None:
    desk.commit(1)
    desk.publish(f"oci:{desk.archive(1)}:stable", "os:stable")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="user") as home:
        os.chown(home, 65534, 65534)
        stores = {f"ostree:{home}/repo": COMMIT, f"tree:{home}/tree": COMMIT, f"oci:{home}/layout:stable": IMAGE}
        lines = [
            line
            for number, (store, ref) in enumerate(stores.items())
            for line in (
                f"pull {desk.server.url} {ref} --into {store}",
                f"verify {store}",
                f"checkout {store} {home}/out{number}",
            )
        ]
        environment = {**os.environ, "SMIDGEN_STATE": f"{home}/state", "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(
            [sys.executable, "-c", USER], input="\n".join(lines), text=True, capture_output=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        for number in range(len(stores)):
            same_files(Path(home) / f"out{number}", desk.folder / "release1")
        assert "no errors" in ostree(Path(home) / "repo", "fsck")
        assert Path(home, "repo").stat().st_uid == 65534


@pytest.mark.needs("podman")
def test_an_image_that_a_layout_keeps_is_loaded_by_podman(desk: Desk) -> None:
    desk.publish(f"oci:{desk.archive(1)}:stable", "os:stable")
    pulled = desk.pull(IMAGE, desk.layout)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pod") as home:  # podman refuses a long path
        podman = ["podman", "--root", f"{home}/root", "--runroot", f"{home}/run", "--storage-driver=vfs"]
        subprocess.run([*podman, "load", "--input", desk.folder / "oci"], check=True, capture_output=True)
        ids = subprocess.run([*podman, "images", "--quiet", "--no-trunc"], check=True, capture_output=True, text=True)
    layout = desk.folder / "oci/blobs/sha256"
    manifest = json.loads((layout / pulled["stored"].removeprefix("sha256:")).read_text())
    assert ids.stdout.split() == [manifest["config"]["digest"]]


def on_a_terminal(*words: str) -> str:
    """What a command shows on a terminal; it must end well."""
    shown, terminal = pty.openpty()
    with os.fdopen(shown, "rb", 0) as shows:
        process = subprocess.Popen([sys.executable, "-m", "smidgen_client", *words], stdout=terminal, stderr=terminal)
        os.close(terminal)
        seen = b""
        with contextlib.suppress(OSError):  # EIO is how Linux says that nobody has the other end any more
            while block := shows.read(1 << 16):
                seen += block
        assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_every_long_command_has_a_bar_on_a_terminal(desk: Desk) -> None:
    desk.commit(1)
    token = str(desk.folder / "token")
    server = ("--server", desk.server.url, "--token-file", token)
    for source in (f"ostree:{desk.folder / 'origin'}@stable", f"ostree:{desk.folder / 'origin'}@stable"):
        assert "os/again is sha256:" in on_a_terminal("publish", source, "os/again", *server).replace("\r\n", "")
    assert "os:stable is sha256:" in on_a_terminal("publish", f"oci:{desk.archive(1)}:stable", "os:stable", *server)
    pulled = on_a_terminal("pull", desk.server.url, COMMIT, "--into", desk.tree)
    assert "fetching" in pulled and "\x1b[" in pulled
    assert "all are right" in on_a_terminal("verify", desk.tree)
    assert "hashed" in on_a_terminal("seed", "add", f"folder:{desk.folder / 'release1'}")
