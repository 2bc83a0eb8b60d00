"""Bundles: one signed file takes a device without a network to a commit and an image, from two revisions or none."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smidgen_client.cli import run
from smidgen_deltas.native.bundle import read_head
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import ingest_ostree
from smidgen_server.services.container import Services, open_services
from smidgen_server.services.tasks import no_progress
from smidgen_server.settings import Settings
from support.ostree import ostree
from support.releases import release
from support.small_images import publish_version

pytestmark = pytest.mark.needs("ostree", "skopeo")
REFS = ("ostree/os/stable", "oci/app:stable")
Shell = Callable[..., dict[str, Any]]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Types a command; its facts. `status`: the exit code that is expected."""

    def type_in(*words: object, status: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        try:
            found = run([*map(str, words), "--json"])
        except SystemExit as exit_:  # so the server's commands end
            found = int(exit_.code or 0)
        said = capsys.readouterr()
        assert found == status, said.out + said.err
        return json.loads(said.out.splitlines()[-1]) if not status else {"said": said.out + said.err}

    return type_in


def publish(services: Services, folder: Path, version: int) -> tuple[str, str]:
    """A release as commit and as image; their names."""
    repo = folder / "origin"
    if not repo.exists():
        ostree(repo, "init", "--mode=archive")
    tree = release(folder / f"release{version}", version)
    commit = ostree(repo, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0").strip()
    ingest_ostree.publish(services, Repository.open(repo), "stable", "os", "stable", no_progress)
    return commit, str(publish_version(services, folder / "images", version))


@pytest.fixture
def published(shell: Shell, tmp_path: Path) -> list[tuple[str, str]]:
    """Three releases at a server that makes no deltas by itself, and full-1, full-2, full-3: bundles of each."""
    names = []
    for version in (1, 2, 3):
        settings = Settings(data=tmp_path / "data", deltas={"from_last": 0})  # type: ignore[arg-type]
        with open_services(settings) as services:
            names.append(publish(services, tmp_path, version))
        bundle(shell, tmp_path, name=f"full-{version}")
    return names


def bundle(shell: Shell, folder: Path, *words: str, name: str = "bundle") -> Path:
    shell("bundle", *REFS, "-o", folder / name, "--data", folder / "data", *words)
    return folder / name


def pull(shell: Shell, folder: Path, file: Path, *words: str, status: int = 0) -> list[dict[str, Any]]:
    """Both refs into the stores of a device."""
    device = folder / "device"
    device.mkdir(exist_ok=True)
    stores = (f"ostree:{device}/repo", f"oci:{device}/layout:app")
    common = ("--state", device / "state", *words)
    return [
        shell("pull", f"bundle:{file}", ref, "--into", store, *common, status=status)
        for ref, store in zip(REFS, stores, strict=True)
    ]


def check(folder: Path, release_names: tuple[str, str]) -> None:
    device = folder / "device"
    ostree(device / "repo", "fsck")
    assert ostree(device / "repo", "rev-parse", "stable").strip() == release_names[0]
    copied = subprocess.run(
        ["skopeo", "copy", f"oci:{device}/layout:app", f"dir:{device}/copied"], capture_output=True, text=True
    )
    assert copied.returncode == 0, copied.stderr
    shutil.rmtree(device / "copied")


def test_from_nothing(shell: Shell, published: list[tuple[str, str]], tmp_path: Path) -> None:
    file = tmp_path / "full-3"
    with file.open("rb") as opened:
        assert read_head(opened).size == file.stat().st_size
    shutil.rmtree(tmp_path / "data")
    pull(shell, tmp_path, file)
    check(tmp_path, published[2])
    assert all(done["unchanged"] for done in pull(shell, tmp_path, file))


@pytest.mark.parametrize("start", [1, 2])
def test_from_either_of_two_revisions(
    shell: Shell, published: list[tuple[str, str]], tmp_path: Path, start: int
) -> None:
    words = [word for names in published[:2] for name in names for word in ("--from", name)]
    update = bundle(shell, tmp_path, *words)
    assert update.stat().st_size < (tmp_path / "full-3").stat().st_size / 4
    pull(shell, tmp_path, tmp_path / f"full-{start}")
    check(tmp_path, published[start - 1])
    update.chmod(0o400)
    assert all(done["dry_run"] for done in pull(shell, tmp_path, update, "--dry-run"))
    for done in pull(shell, tmp_path, update, "--prefer", "time"):  # by which packs are better, if there are any
        assert done["delta"]["used"], done
    check(tmp_path, published[2])


def test_a_device_at_neither_revision_is_told(shell: Shell, published: list[tuple[str, str]], tmp_path: Path) -> None:
    words = [word for name in published[1] for word in ("--from", name)]
    update = bundle(shell, tmp_path, "--effort", "fast", *words)
    for refused in pull(shell, tmp_path, update, status=30):
        assert "the bundle goes from other revisions" in refused["said"]
    shutil.rmtree(tmp_path / "device")  # it has seen the newest version, so an older one would be refused
    pull(shell, tmp_path, tmp_path / "full-1")
    for refused, name in zip(pull(shell, tmp_path, update, status=30), published[1], strict=True):
        assert "the bundle goes from other revisions" in refused["said"] and name in refused["said"]
    check(tmp_path, published[0])
    both = bundle(shell, tmp_path, "--full", *words)
    pull(shell, tmp_path, both)
    check(tmp_path, published[2])


def test_what_is_not_to_be_trusted_is_refused(shell: Shell, published: list[tuple[str, str]], tmp_path: Path) -> None:
    good = tmp_path / "full-3"
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    pull(shell, tmp_path, good, "--key", base64.b64encode(stranger).decode(), status=22)
    pull(shell, tmp_path, good)
    pull(shell, tmp_path, tmp_path / "full-2", status=23)  # older than what was seen
    data = bytearray(good.read_bytes())
    with good.open("rb") as opened:
        start = read_head(opened).start
    bad, device = tmp_path / "bad", tmp_path / "device"
    shutil.rmtree(device / "repo")
    shutil.rmtree(device / "layout")
    for at, wrong in ((3, data[3] ^ 1), (60, data[60] ^ 1), (start - 9, data[start - 9] ^ 1), (len(data) - 1, None)):
        bad.write_bytes(data[:at] + (b"" if wrong is None else bytes([wrong]) + data[at + 1 :]))
        with pytest.raises(AssertionError, match="smidgen: "):
            pull(shell, tmp_path, bad)
    assert not (device / "repo").exists() and not (device / "layout").exists()


def test_a_damaged_file_of_a_bundle_is_never_taken(
    published: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (tmp_path / "full-3").read_bytes()
    with (tmp_path / "full-3").open("rb") as opened:
        head = read_head(opened)
    at, refused = head.start, 0
    for number, entry in enumerate(head.entries):
        bad, device = tmp_path / "bad", tmp_path / f"device{number}"
        middle = at + entry.size // 2
        bad.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        at += entry.size
        words = ["pull", f"bundle:{bad}", REFS[0], "--into", f"ostree:{device}/repo", "--state", f"{device}/state"]
        if run(words):
            refused += 1
            assert not (device / "repo/refs/heads/stable").exists(), entry.name
        else:  # it was not needed
            ostree(device / "repo", "fsck")
    capsys.readouterr()
    assert refused >= 5  # keys, document, tree, map, a pack


def test_wishes_that_cannot_be_met(shell: Shell, published: list[tuple[str, str]], tmp_path: Path) -> None:
    common = ("-o", tmp_path / "new", "--data", tmp_path / "data")
    shell("bundle", "ostree/os/nothing", *common, status=30)
    shell("bundle", "ostree/os", *common, status=2)
    shell("bundle", *REFS, "--from", "sha256:" + "00" * 32, *common, status=30)
    shell("bundle", *REFS, "-o", tmp_path / "new", "--data", tmp_path / "none", status=30)
    shell("pull", f"bundle:{tmp_path / 'new'}", REFS[0], "--into", f"ostree:{tmp_path / 'repo'}", status=30)
    assert not list(tmp_path.glob("*new*")) and not (tmp_path / "repo").exists()
