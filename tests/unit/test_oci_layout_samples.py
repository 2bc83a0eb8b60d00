"""Layouts and layers that other programs made, kept as samples."""

from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Manifest, parse_config, parse_manifest
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.merge import merge
from smidgen_deltas.tar.recipe import split
from support.tars import blocks

DATA = Path(__file__).parent.parent / "data" / "oci"


@pytest.fixture(scope="module")
def flatpak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("flatpak")
    with tarfile.open(DATA / "flatpak-toy.tar.gz") as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                (base / member.name).parent.mkdir(parents=True, exist_ok=True)
                (base / member.name).write_bytes(file.read())
    return base


@pytest.mark.parametrize("name", ["flatpak-image1", "flatpak-image2"])
def test_flatpak_images(flatpak: Path, name: str) -> None:
    layout = Layout.open(flatpak / name)
    manifest = layout.manifest(layout.resolve())
    assert isinstance(manifest, Manifest)
    config = parse_config(layout.read_blob(manifest.config))
    assert config.labels["org.flatpak.ref"].startswith("app/")
    [layer] = manifest.layers
    with layout.open_blob(layer.digest) as reader:
        recipe = split(open_layer(layer.media_type, reader, 1 << 26), lambda member, size: None)
    assert (recipe.diff_id,) == config.diff_ids
    tree = merge([entries(recipe.pieces)])
    assert tree.get(b"metadata") is not None
    assert tree.get(b"files/bin") is not None


def test_flatpak_delta_documents(flatpak: Path) -> None:
    index = parse_manifest((flatpak / "flatpak-delta" / "_deltaindex.json").read_bytes())
    assert index.media_type.endswith("index.v1+json")
    found = []
    for path in (flatpak / "flatpak-delta" / "blobs" / "sha256").iterdir():
        body = path.read_bytes()
        if b"schemaVersion" in body:
            found.append(parse_manifest(body))
    [manifest] = found
    assert isinstance(manifest, Manifest)
    assert {"io.github.containers.delta.from", "io.github.containers.delta.to"} <= manifest.layers[0].annotations.keys()


def test_an_ostree_ext_layer() -> None:
    """Every body once, at its object's path; deployed names are hard links to it."""
    data = lzma.decompress((DATA / "ostree-ext-layer.tar.xz").read_bytes())
    recipe = split(blocks(data), lambda member, size: None)
    assert recipe.diff_id == Digest.of(data)
    found = list(entries(recipe.pieces))
    links = [entry for entry in found if entry.type is MemberType.HARDLINK]
    assert links
    assert all(entry.linkname.startswith(b"sysroot/ostree/repo/objects/") for entry in links)
    tree = merge([found])
    assert sum(1 for entry in tree.entries() if entry.content) == sum(1 for entry in found if entry.content)
    shared = tree.get(links[0].path)
    assert shared is not None
    assert shared.type in (MemberType.FILE, MemberType.SYMLINK)
