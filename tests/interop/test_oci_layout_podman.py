"""Real images by podman and skopeo: their layers come back bit for bit, the merged tree on disk is the one that podman
mounts, and what we write they read.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci import media
from smidgen_deltas.oci.build import encode_index, encode_manifest
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor, ImageConfig, Index, Manifest, parse_config, parse_manifest
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.extract import extract
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.merge import merge
from smidgen_deltas.tar.recipe import Content, EncodedRecipe, Splitter, decode, encode, rebuild
from support.trees import look

pytestmark = pytest.mark.needs("podman", "skopeo", "root")

LIMIT = 1 << 30
CONTAINERFILE = """\
FROM scratch
COPY one /
COPY two /opt
LABEL org.example.kind=toy
"""


class Podman:
    """podman with a storage of its own."""

    def __init__(self, base: Path) -> None:
        self._command = ["podman", "--root", str(base / "root"), "--runroot", str(base / "run")]
        self._command += ["--storage-driver", "vfs", "--tmpdir", str(base / "tmp")]

    def __call__(self, *arguments: str | Path) -> str:
        run = subprocess.run(
            [*self._command, *map(str, arguments)], capture_output=True, check=False, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()


@dataclass(frozen=True)
class Image:
    """An image in an archive, and the directory where podman showed its files."""

    archive: Path
    mounted: Path


def first_tree(context: Path) -> None:
    shutil.copytree(Path(click.__file__).parent, context / "one" / "usr" / "lib" / "click", symlinks=True)
    (context / "one" / "etc").mkdir()
    (context / "one" / "etc" / "conf").write_text("1\n")
    (context / "one" / "etc" / "other").write_text("2\n")
    os.link(context / "one" / "etc" / "other", context / "one" / "etc" / "same")
    (context / "two" / "old" / "deep").mkdir(parents=True)
    (context / "two" / "old" / "deep" / "file").write_bytes(b"x" * 100_000)
    (context / "two" / "link").symlink_to("old/deep")
    (context / "two" / "tool").write_bytes(b"#!/bin/sh\n")
    (context / "two" / "tool").chmod(0o4755)
    (context / "Containerfile").write_text(CONTAINERFILE)


def change(root: Path) -> None:
    """What the second image does to the first."""
    (root / "etc" / "conf").unlink()
    shutil.rmtree(root / "opt" / "old")
    (root / "opt" / "link").unlink()
    (root / "opt" / "link").mkdir(mode=0o1777)
    (root / "opt" / "link" / "new").write_text("new")
    (root / "etc" / "other").write_text("changed, and so is its other name")
    os.setxattr(root / "opt" / "tool", "user.note", b"n\0")
    os.chown(root / "opt" / "tool", 7, 8)
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 20)
        os.pwrite(file.fileno(), b"data", 1 << 19)
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with tempfile.TemporaryDirectory(prefix="smidgen-") as base:  # podman refuses long paths, such as pytest's
        podman = Podman(Path(base))
        yield podman
        podman("umount", "--all")
        podman("rm", "--all", "--force")
        podman("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def image(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Image:
    base = tmp_path_factory.mktemp("image")
    context = base / "context"
    first_tree(context)
    podman("build", "--format", "oci", "--layers", "-t", "toy:1", context)
    container = podman("create", "toy:1", "/nothing")
    change(Path(podman("mount", container)))
    podman("commit", "--format", "oci", container, "toy:2")
    podman("save", "--format", "oci-archive", "-o", base / "toy.tar", "toy:2")
    return Image(base / "toy.tar", Path(podman("mount", podman("create", "toy:2", "/nothing"))))


class Store:
    """Contents of all layers, each once."""

    def __init__(self) -> None:
        self.contents: list[Content] = []
        self.bodies: dict[bytes, bytes] = {}

    def sink(self, member: Member, size: int) -> Body:
        return Body(self)

    def index_of(self, content: Content) -> int:
        if content not in self.contents:
            self.contents.append(content)
        return self.contents.index(content)

    def open(self, content: Content) -> Iterator[bytes]:
        yield self.bodies[content.sha256]


class Body:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self, sha256: bytes) -> None:
        self._store.bodies[sha256] = bytes(self._data)


def load(archive: Path) -> tuple[Layout, Manifest, ImageConfig]:
    layout = Layout.open(archive)
    manifest = layout.manifest(layout.resolve())
    assert isinstance(manifest, Manifest)
    return layout, manifest, parse_config(layout.read_blob(manifest.config))


def take_apart(layout: Layout, manifest: Manifest, store: Store) -> list[tuple[EncodedRecipe, Digest]]:
    found = []
    for layer in manifest.layers:
        with layout.open_blob(layer.digest) as reader:
            splitter = Splitter(open_layer(layer.media_type, reader, LIMIT), store.sink)
            encoded = encode(splitter, store.index_of)
        found.append((decode(encoded, store.contents), splitter.diff_id))
    return found


def test_layers_come_back_bit_for_bit(image: Image) -> None:
    layout, manifest, config = load(image.archive)
    store = Store()
    recipes = take_apart(layout, manifest, store)
    assert tuple(diff_id for _, diff_id in recipes) == config.diff_ids
    assert len(recipes) == 3
    assert config.labels["org.example.kind"] == "toy"
    for (recipe, diff_id), layer in zip(recipes, manifest.layers, strict=True):
        with layout.open_blob(layer.digest) as reader:
            original = b"".join(open_layer(layer.media_type, reader, LIMIT))
        assert b"".join(rebuild(recipe, store.open, diff_id)) == original


def test_the_merged_tree_is_the_one_that_podman_mounts(image: Image, tmp_path: Path) -> None:
    layout, manifest, _ = load(image.archive)
    store = Store()
    tree = merge(entries(recipe) for recipe, _ in take_apart(layout, manifest, store))
    assert tree.duplicates == []
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        report = extract(handle, tree.entries(), store.open)
    finally:
        os.close(handle)
    assert not report.skipped
    ours, theirs = (look(root, directory_times=False) for root in (tmp_path, image.mounted))
    del ours["."], theirs["."]  # no layer describes the root here
    assert ours == theirs
    assert {"opt/link/new", "etc/same", "null"} <= ours.keys()
    assert not {"etc/conf", "opt/old"} & ours.keys()


def skopeo(*arguments: str | Path) -> str:
    run = subprocess.run(["skopeo", *map(str, arguments)], capture_output=True, check=False, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_docker_schema_2_by_skopeo(image: Image, tmp_path: Path) -> None:
    skopeo("copy", "--format", "v2s2", f"oci-archive:{image.archive}", f"dir:{tmp_path}/dir")
    manifest = parse_manifest((tmp_path / "dir" / "manifest.json").read_bytes())
    assert isinstance(manifest, Manifest)
    assert manifest.media_type == media.DOCKER_MANIFEST
    config = parse_config((tmp_path / "dir" / manifest.config.digest.hex).read_bytes())
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        with open(tmp_path / "dir" / layer.digest.hex, "rb") as file:
            assert Digest.of(b"".join(open_layer(layer.media_type, file, LIMIT))) == diff_id


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layers_as_skopeo_compresses_them(image: Image, tmp_path: Path, compression: str) -> None:
    arguments = ["--dest-compress", "--dest-compress-format", compression]
    skopeo("copy", *arguments, f"oci-archive:{image.archive}", f"oci:{tmp_path}/oci:x")
    layout = Layout.open(tmp_path / "oci")
    manifest = layout.manifest(layout.resolve("x"))
    assert isinstance(manifest, Manifest)
    config = parse_config(layout.read_blob(manifest.config))
    found = take_apart(layout, manifest, Store())
    assert tuple(diff_id for _, diff_id in found) == config.diff_ids


def test_skopeo_and_podman_read_what_we_write(image: Image, podman: Podman, tmp_path: Path) -> None:
    """Rebuilt layers, uncompressed, in a layout of ours, with an index around the image."""
    layout, manifest, config = load(image.archive)
    store = Store()
    writer = LayoutWriter.open_or_create(tmp_path / "ours")
    layers = []
    for recipe, diff_id in take_apart(layout, manifest, store):
        writer.put_blob(diff_id, rebuild(recipe, store.open, diff_id), recipe.tar_size)
        layers.append(Descriptor(media.OCI_LAYER, diff_id, recipe.tar_size, {}))
    writer.put_bytes(config.body)
    body = encode_manifest(manifest.config, layers, annotations={"by": "smidgen"})
    described = Descriptor(media.OCI_MANIFEST, writer.put_bytes(body), len(body), {})
    index = encode_index([described])
    writer.set_ref("plain", described)
    writer.set_ref("index", Descriptor(media.OCI_INDEX, writer.put_bytes(index), len(index), {}))

    seen = json.loads(skopeo("inspect", f"oci:{tmp_path}/ours:plain"))
    assert seen["Layers"] == [str(layer.digest) for layer in layers]
    skopeo("copy", "--all", "--preserve-digests", f"oci:{tmp_path}/ours:index", f"oci-archive:{tmp_path}/copied.tar:x")
    copied = Layout.open(tmp_path / "copied.tar")
    outer = copied.manifest(copied.resolve("x"))
    assert isinstance(outer, Index)
    assert outer.body == index
    identity = podman("pull", "--quiet", f"oci:{tmp_path}/ours:plain").splitlines()[-1]
    assert Digest("sha256", identity) == manifest.config.digest
