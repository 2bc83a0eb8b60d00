"""A damaged or forged image of a commit is refused, and the repository has nothing of it.

Damage below the digests is found by them; so here they are made to fit again, and what is left to find it are names of
objects, the layout, and the promised commit. What is damaged in the passed-over view only gives the same commit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smidgen_deltas.errors import DigestMismatch, FormatError, NotFound, SmidgenError, UnsupportedFeature
from smidgen_deltas.oci.build import encode_manifest
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor, Manifest
from smidgen_deltas.ostree.container.export import export_commit
from smidgen_deltas.ostree.container.image_reader import import_image
from smidgen_deltas.ostree.container.layout import COMMIT_LABEL, FINAL_LABEL, CommitMismatch, ContainerInvalid
from smidgen_deltas.ostree.container.tar_members import END
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_deltas.tar.reader import TarReader
from support.ostree import FIRST, SECOND, unpack_archive_repo

Change = Callable[[dict[str, Any]], object]


class Scene:
    """An exported image, taken apart, and an empty repository."""

    def __init__(self, base: Path) -> None:
        self.root = base / "images"
        self.writer = LayoutWriter.open_or_create(self.root)
        repo = Repository.open(unpack_archive_repo(base))
        export_commit(repo, SECOND, self.writer, "good", 2, "amd64")
        self.layout = self.writer.layout()
        manifest = self.layout.manifest(self.layout.resolve("good"))
        assert isinstance(manifest, Manifest)
        self.blobs = [one.digest for one in manifest.layers]
        self.tars = [zlib.decompress((self.root / blob_name(one)).read_bytes(), 31) for one in self.blobs]
        self.config: dict[str, Any] = json.loads(self.layout.read_blob(manifest.config))
        self.back = RepositoryWriter.open_or_create(base / "back", "archive")

    def forge(self, tars: list[bytes], change: Change = lambda config: None) -> None:
        """Layers with digests that fit; the config says so, too, before it is changed."""
        layers = [Descriptor(OCI_LAYER, self.writer.put_bytes(tar), len(tar), {}) for tar in tars]
        config = json.loads(json.dumps(self.config))
        config["rootfs"]["diff_ids"] = [str(one.digest) for one in layers]
        if layers:
            config["config"]["Labels"][FINAL_LABEL] = str(layers[-1].digest)
        change(config)
        body = json.dumps(config).encode()
        described = Descriptor(OCI_CONFIG, self.writer.put_bytes(body), len(body), {})
        manifest = encode_manifest(described, layers)
        self.writer.set_ref("bad", Descriptor(OCI_MANIFEST, self.writer.put_bytes(manifest), len(manifest), {}))

    def read(self, tag: str = "bad") -> bytes:
        return import_image(Layout.open(self.root), tag, self.back, "ref").commit

    def assert_untouched(self) -> None:
        assert self.back.repository.refs() == {}
        assert not [one for one in self.back.path.joinpath("objects").rglob("*") if one.is_file()]
        assert not [one for one in self.back.path.joinpath("tmp").rglob("*") if one.is_file()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("damage"))


def objects(tar: bytes, extension: bytes) -> list[tuple[int, int]]:
    """Where members with an extension begin and end."""
    offsets = [(one.offset, one.path) for one in TarReader([tar])]
    ends = [offset for offset, _ in offsets[1:]] + [len(tar) - len(END)]
    return [(at, end) for (at, path), end in zip(offsets, ends, strict=True) if path.endswith(extension)]


@pytest.mark.parametrize("extension", [b".commit", b".dirtree", b".dirmeta", b".file", b".file-xattrs-link"])
@pytest.mark.parametrize("layer", [0, 1])
def test_object_that_is_missing(scene: Scene, extension: bytes, layer: int) -> None:
    tars = list(scene.tars)
    found = objects(tars[layer], extension)
    if layer and extension in (b".commit", b".dirtree", b".dirmeta"):
        assert not found
        return
    at, end = found[-1]
    tars[layer] = tars[layer][:at] + tars[layer][end:]
    scene.forge(tars)
    with pytest.raises((CommitMismatch, ContainerInvalid)):
        scene.read()
    scene.assert_untouched()


def test_layer_of_contents_that_is_left_out(scene: Scene) -> None:
    scene.forge(scene.tars[:-1])
    with pytest.raises(CommitMismatch, match="all of its commit"):
        scene.read()
    scene.assert_untouched()


def test_layers_in_another_order(scene: Scene) -> None:
    scene.forge([*scene.tars[1:], scene.tars[0]])
    with pytest.raises(ContainerInvalid):
        scene.read()
    scene.assert_untouched()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda config: config["config"]["Labels"].update({COMMIT_LABEL: FIRST.hex()}), CommitMismatch),
        (lambda config: config["config"]["Labels"].update({COMMIT_LABEL: "HEAD"}), ContainerInvalid),
        (lambda config: config["config"]["Labels"].update({FINAL_LABEL: "sha256:" + "0" * 64}), ContainerInvalid),
        (lambda config: config["config"]["Labels"].pop(FINAL_LABEL), UnsupportedFeature),
        (lambda config: config["rootfs"]["diff_ids"].pop(0), ContainerInvalid),
        (lambda config: config["rootfs"]["diff_ids"].__setitem__(0, "sha256:" + "0" * 64), DigestMismatch),
        (
            lambda config: config["config"]["Labels"].update({FINAL_LABEL: config["rootfs"]["diff_ids"][0]}),
            UnsupportedFeature,
        ),
    ],
)
def test_config_that_says_otherwise(scene: Scene, change: Change, error: type[SmidgenError]) -> None:
    scene.forge(scene.tars, change)
    with pytest.raises(error):
        scene.read()
    scene.assert_untouched()


def test_blob_that_is_damaged(scene: Scene) -> None:
    stored = scene.root / blob_name(scene.blobs[-1])
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    try:
        with pytest.raises((DigestMismatch, FormatError)):
            scene.read("good")
        scene.assert_untouched()
    finally:
        stored.write_bytes(whole)


def test_image_without_layers(scene: Scene) -> None:
    scene.forge([])
    with pytest.raises(ContainerInvalid):
        scene.read()
    scene.assert_untouched()


def test_image_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(NotFound):
        scene.read("nowhere")
    scene.assert_untouched()


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_byte_of_any_layer(tmp_path_factory: pytest.TempPathFactory, scene: Scene, data: st.DataObject) -> None:
    tars = list(scene.tars)
    layer = data.draw(st.integers(0, len(tars) - 1))
    places = (b".commit", b".dirtree", b".dirmeta", b".file", b"-link")
    starts = [start for name in places for start, _ in objects(tars[layer], name)]
    at = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 1535))
    damaged = bytearray(tars[layer])
    damaged[min(at, len(damaged) - 1)] ^= data.draw(st.integers(1, 255))
    tars[layer] = bytes(damaged)
    scene.forge(tars)
    back = RepositoryWriter.open_or_create(tmp_path_factory.mktemp("back"), "archive")
    try:
        commit = import_image(Layout.open(scene.root), "bad", back, "ref").commit
    except SmidgenError:
        assert back.repository.refs() == {}
        assert not [one for one in back.path.joinpath("objects").rglob("*") if one.is_file()]
    else:
        assert commit == SECOND
