"""Commits as images for stock tools, and back: the same checksum, repositories that fsck accepts, a tree that runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from smidgen_client.cli import run
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Manifest, parse_config
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import closure
from support.ostree import REF, SECOND, ostree, unpack_archive_repo

STOCK = Path(__file__).parent.parent / "data/oci/ostree-ext-image.tar"
OBJECTS = "sysroot/ostree/repo/objects"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A layout with the commit in one layer (`whole`) and in four (`chunked`)."""
    repo = unpack_archive_repo(tmp_path)
    layout = tmp_path / "images"
    for tag, chunks in (("whole", "0"), ("chunked", "3")):
        assert run(["container", "export", f"ostree:{repo}@{REF}", f"oci:{layout}:{tag}", "--chunks", chunks]) == 0
    return layout


@pytest.mark.needs("ostree")
@pytest.mark.parametrize("tag", ["whole", "chunked"])
@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_commit_comes_back_bit_for_bit(images: Path, tmp_path: Path, tag: str, mode: str) -> None:
    back = tmp_path / "back"
    back.mkdir()
    ostree(back, "init", f"--mode={mode}")
    assert run(["container", "import", f"oci:{images}:{tag}", f"ostree:{back}@{REF}"]) == 0
    assert ostree(back, "rev-parse", REF).strip() == SECOND.hex()
    ostree(back, "fsck")
    assert Repository.open(back).commitmeta(SECOND) == Repository.open(tmp_path / "archive").commitmeta(SECOND)


@pytest.mark.needs("skopeo", "ostree", "root")
@pytest.mark.parametrize("tag", ["whole", "chunked"])
def test_image_runs_as_it_is(images: Path, tmp_path: Path, tag: str) -> None:
    """What skopeo copies and GNU tar extracts is the tree, as hard links into a repository that stock ostree takes."""
    copied, root, checkout = tmp_path / "copied", tmp_path / "root", tmp_path / "checkout"
    subprocess.run(["skopeo", "copy", "-q", f"oci:{images}:{tag}", f"dir:{copied}"], check=True)
    root.mkdir()
    for layer in json.loads((copied / "manifest.json").read_bytes())["layers"]:
        blob = copied / layer["digest"].removeprefix("sha256:")
        subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "-xpf", blob, "-C", root], check=True)
    ostree(root / "sysroot/ostree/repo", "fsck")
    ostree(tmp_path / "archive", "checkout", REF, str(checkout))
    for found in filter(os.path.lexists, checkout.rglob("*")):
        name = found.relative_to(checkout).as_posix()
        there = root / (name.removeprefix("usr/") if name.startswith("usr/etc") else name)
        assert there.lstat().st_mode == found.lstat().st_mode
        if found.is_symlink():
            assert there.readlink() == found.readlink()
        elif found.is_file():
            assert there.read_bytes() == found.read_bytes()
            assert (there.stat().st_nlink > 1) == (there.stat().st_size > 0)
    inodes = {one.stat().st_ino for one in (root / OBJECTS).rglob("*.file") if not one.is_symlink()}
    assert {one.stat().st_ino for one in (root / "usr").rglob("*") if one.is_file() and one.stat().st_size} <= inodes


@pytest.mark.needs("podman", "root")
def test_podman_takes_it(images: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:  # podman takes no longer names for --runroot
        command = ["podman", "--root", str(tmp_path / "storage"), "--runroot", f"{short}/run"]
        command += ["--storage-driver", "vfs", "--tmpdir", f"{short}/tmp"]
        pull = [*command, "pull", "-q", f"oci:{images}:chunked"]
        name = subprocess.run(pull, check=True, capture_output=True, text=True).stdout.strip()
        shown = subprocess.run([*command, "inspect", name], check=True, capture_output=True, text=True).stdout
    (image,) = json.loads(shown)
    assert image["Labels"]["ostree.commit"] == SECOND.hex()
    assert image["Labels"]["version"] == "2.0"
    assert image["RootFS"]["Layers"][-1] == image["Labels"]["ostree.final-diffid"]


@pytest.mark.needs("skopeo", "ostree")
def test_image_with_layers_compressed_otherwise_is_the_same_commit(images: Path, tmp_path: Path) -> None:
    again, back = tmp_path / "again", tmp_path / "back"
    copy = ["skopeo", "copy", "-q", "--dest-compress", "--dest-compress-format=zstd"]
    subprocess.run([*copy, f"oci:{images}:chunked", f"oci:{again}:zstd"], check=True)
    assert run(["container", "import", f"oci:{again}:zstd", f"ostree:{back}"]) == 0
    assert Repository.open(back).resolve("zstd") == SECOND


def test_export_is_the_same_each_time(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    repo = tmp_path / "archive"
    assert run(["container", "export", f"ostree:{repo}@{REF}", f"oci:{other}:chunked", "--chunks", "3"]) == 0
    assert Layout.open(other).resolve("chunked").digest == Layout.open(images).resolve("chunked").digest


@pytest.mark.needs("ostree")
def test_bootable_commits_are_marked_for_bootc(tmp_path: Path) -> None:
    tree, repo = tmp_path / "tree", tmp_path / "repo"
    (tree / "usr/etc").mkdir(parents=True)
    repo.mkdir()
    ostree(repo, "init", "--mode=archive")
    facts = ["--add-metadata=ostree.bootable=true", "--add-metadata-string=ostree.linux=6.1.0"]
    ostree(repo, "commit", "--branch=os", f"--tree=dir={tree}", "--no-xattrs", *facts)
    assert run(["container", "export", f"ostree:{repo}@os", f"oci:{tmp_path / 'images'}:os", "--arch", "arm64"]) == 0
    layout = Layout.open(tmp_path / "images")
    manifest = layout.manifest(layout.resolve("os"))
    assert isinstance(manifest, Manifest)
    config = parse_config(layout.read_blob(manifest.config))
    assert (config.architecture, config.os) == ("arm64", "linux")
    assert config.labels == manifest.annotations
    assert config.labels["ostree.final-diffid"] == str(config.diff_ids[-1])
    wanted = {"ostree.bootable": "true", "ostree.linux": "6.1.0", "containers.bootc": "1"}
    assert {key: config.labels[key] for key in wanted} == wanted


def test_image_by_the_stock_tool_is_read(tmp_path: Path) -> None:
    back = tmp_path / "back"
    (tag,) = Layout.open(STOCK).tags()
    assert run(["container", "import", f"oci:{STOCK}:{tag}", f"ostree:{back}@{REF}"]) == 0
    assert Repository.open(back).resolve(REF) == SECOND
    assert len(list(closure(Repository.open(back).metadata, SECOND))) == 31


@pytest.mark.needs("ostree", "skopeo")
def test_stock_tool_reads_ours_where_it_is_on_the_path(images: Path, tmp_path: Path) -> None:
    """No distribution packages ostree-ext's command line by itself; what it reads, stock ostree and tar read, too."""
    for tag in ("whole", "chunked"):
        copied = tmp_path / tag
        subprocess.run(["skopeo", "copy", "-q", f"oci:{images}:{tag}", f"oci:{copied}:copy"], check=True)
        assert Layout.open(copied).resolve("copy").digest == Layout.open(images).resolve(tag).digest
        if stock := shutil.which("ostree-ext-command"):
            ostree(tmp_path, f"--repo={tmp_path / 'peer'}", "init", "--mode=bare-user")
            peer = [stock, "container", "unencapsulate", "--repo", str(tmp_path / "peer"), "--write-ref", tag]
            subprocess.run([*peer, f"ostree-unverified-image:oci:{copied}:copy"], check=True)
            assert Repository.open(tmp_path / "peer").resolve(tag) == SECOND
