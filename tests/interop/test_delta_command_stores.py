"""`smidgen delta` between commits and between images: stock ostree and skopeo judge what comes out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import encode_tree
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor
from smidgen_deltas.ostree.commit_tree import read_commit
from smidgen_deltas.ostree.repo import Repository
from support.delta_desk import Desk
from support.device_trees import Files, noise
from support.layouts import write_image
from support.ostree import ostree
from support.releases import release
from support.static_deltas import Commits, committed

BASE: Files = {"usr/lib/base": noise("base", 90_000), "etc/os-release": b"VERSION=1\n"}


def app(version: int) -> Files:
    program = bytearray(noise("program", 120_000))
    program[900 : 900 + 64 * version] = noise(f"code {version}", 64 * version)
    return {"usr/bin/app": bytes(program), f"usr/share/only-{version}": noise(f"only {version}", 2000)}


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> Commits:
    return committed(tmp_path_factory.mktemp("commits"))


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


def skopeo(*words: str) -> str:
    return subprocess.run(["skopeo", *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.needs("ostree")
@pytest.mark.parametrize("mode", ["archive", "bare", "bare-user"])
def test_a_commit_comes_back_whole(desk: Desk, commits: Commits, tmp_path: Path, mode: str) -> None:
    origin, old, new = commits
    device, delta = tmp_path / "device", tmp_path / "delta"
    ostree(device, "init", f"--mode={mode}")
    ostree(device, "pull-local", str(origin), old.hex())
    made = desk.facts("make", f"ostree:{origin}@{old.hex()}", f"ostree:{origin}@os", "-o", delta)
    assert made["size"] == delta.stat().st_size
    desk.facts("apply", delta, "--from", f"ostree:{device}@{old.hex()}", "-o", f"ostree:{device}@os/new")
    assert ostree(device, "rev-parse", "os/new").strip() == new.hex()
    ostree(device, "fsck")
    assert encode_tree(read_commit(Repository.open(device), new)) == encode_tree(
        read_commit(Repository.open(origin), new)
    )


@pytest.mark.needs("ostree")
def test_a_commit_from_a_folder_and_a_folder_from_a_commit(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin, old, new = commits
    ostree(origin, "checkout", "--user-mode", old.hex(), str(tmp_path / "tree"))
    delta = tmp_path / "delta"
    whole = desk.facts("make", f"ostree:{origin}@{old.hex()}", f"ostree:{origin}@os", "-o", delta)["size"]
    size = desk.facts("make", tmp_path / "tree", f"ostree:{origin}@os", "-o", delta)["size"]
    assert size < 2 * whole + 20_000  # files of one world are sources in the other
    desk.facts("apply", delta, "--from", tmp_path / "tree", "-o", f"ostree:{tmp_path / 'made'}@os")
    assert ostree(tmp_path / "made", "rev-parse", "os").strip() == new.hex()
    ostree(tmp_path / "made", "fsck")


@pytest.mark.needs("ostree")
def test_nothing_of_a_commit_is_visible_when_a_source_is_missing(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin, old, _ = commits
    delta = tmp_path / "delta"
    desk.facts("make", f"ostree:{origin}@{old.hex()}", f"ostree:{origin}@os", "-o", delta)
    device = tmp_path / "device"
    ostree(device, "init", "--mode=bare-user")
    ostree(device, "commit", "-b", "other", str(release(tmp_path / "tree", 1)))
    before = sorted(device.rglob("*"))
    status, said = desk.type_in("apply", delta, "--from", f"ostree:{device}@other", "-o", f"ostree:{device}@os")
    assert status == 30 and "source of the delta" in said
    assert sorted(device.rglob("*")) == before


@pytest.mark.needs("ostree")
def test_outputs_of_the_wrong_kind_are_refused(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin, old, _ = commits
    delta, source = tmp_path / "delta", f"ostree:{origin}@{old.hex()}"
    desk.facts("make", source, f"ostree:{origin}@os", "-o", delta)
    for output in (tmp_path / "file", f"oci:{tmp_path / 'layout'}:tag", f"ostree:{tmp_path / 'repo'}"):
        assert desk.type_in("apply", delta, "--from", source, "-o", output)[0] == 2
    assert list(tmp_path.iterdir()) == [delta]
    assert desk.type_in("make", f"ostree:{origin}", f"ostree:{origin}@os", "-o", delta)[0] == 2
    assert desk.type_in("make", f"ostree:{origin}@nothing", f"ostree:{origin}@os", "-o", delta)[0] == 30


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_an_image_comes_back_whole(desk: Desk, tmp_path: Path, compression: str) -> None:
    for tag, version in (("old", 1), ("new", 2)):
        write_image(tmp_path / "made", tag, BASE, app(version))
        words = ["--dest-compress", f"--dest-compress-format={compression}"] if compression else ["--dest-decompress"]
        skopeo("copy", *words, f"oci:{tmp_path / 'made'}:{tag}", f"oci:{tmp_path / tag}:{tag}")
    delta, result = tmp_path / "delta", f"oci:{tmp_path / 'result'}:app"
    source = f"oci:{tmp_path / 'old'}:old"
    made = desk.facts("make", source, f"oci:{tmp_path / 'new'}:new", "-o", delta)
    assert made["size"] < 8000
    desk.facts("apply", delta, "--from", source, "-o", result)
    skopeo("copy", result, f"dir:{tmp_path / 'copied'}")
    new = Layout.open(tmp_path / "new").resolve("new")
    told = json.loads(skopeo("inspect", "--raw", result))
    assert (
        told["config"]["digest"]
        == json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path / 'new'}:new"))["config"]["digest"]
    )
    if compression != "zstd":  # Go's zstd encoder cannot be repeated: the layers come back as plain tars
        assert Layout.open(tmp_path / "result").resolve("app").digest == new.digest


def test_what_is_no_layer_is_carried_whole(desk: Desk, tmp_path: Path) -> None:
    layout, model = tmp_path / "layout", noise("model", 1_300_000)
    roots = {tag: _artifact(layout, tag, model + tag.encode()) for tag in ("old", "new")}
    delta, result = tmp_path / "delta", f"oci:{tmp_path / 'result'}:new"
    made = desk.facts("make", f"oci:{layout}:old", f"oci:{layout}:new", "-o", delta)
    assert made["size"] < 2000
    desk.facts("apply", delta, "--from", f"oci:{layout}:old", "-o", result)
    made_layout = Layout.open(tmp_path / "result")
    assert made_layout.resolve("new").digest == roots["new"]
    assert made_layout.has_blob(Digest.of(model + b"new"))


def test_a_damaged_image_is_refused(desk: Desk, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_image(layout, "old", BASE)
    root = write_image(layout, "new", BASE, app(2))
    manifest = layout / f"blobs/sha256/{root.hex}"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    status, said = desk.type_in("make", f"oci:{layout}:old", f"oci:{layout}:new", "-o", tmp_path / "delta")
    assert status != 0 and "another size" in said
    assert not (tmp_path / "delta").exists()


def _artifact(layout: Path, tag: str, body: bytes) -> Digest:
    """An artifact whose only layer is no file system."""
    writer = LayoutWriter.open_or_create(layout)
    blobs = [{"digest": str(writer.put_bytes(one)), "size": len(one)} for one in (b"{}", body)]
    types = ("application/vnd.oci.empty.v1+json", "application/vnd.example.model")
    config, layer = ({"mediaType": kind, **blob} for kind, blob in zip(types, blobs, strict=True))
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    text = json.dumps(manifest).encode()
    digest = writer.put_bytes(text)
    writer.set_ref(tag, Descriptor(OCI_MANIFEST, digest, len(text), {}))
    return digest
