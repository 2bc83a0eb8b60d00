"""A damaged or forged image of a commit is refused, and the repository has nothing of it.

Damage below the digests is found by them; so here they are made to fit again, and what is left to find it are names of
objects, the layout, and the promised commit. What is damaged in the passed-over view only gives the same commit.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smidgen_deltas.errors import DigestMismatch, FormatError, NotFound, SmidgenError, UnsupportedFeature
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.ostree.container.image_reader import import_image
from smidgen_deltas.ostree.container.layout import COMMIT_LABEL, FINAL_LABEL, CommitMismatch, ContainerInvalid
from smidgen_deltas.ostree.container.tar_members import END
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_deltas.tar.reader import TarReader
from support.forged_image import Change, ForgedImage
from support.ostree import FIRST, SECOND


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> ForgedImage:
    return ForgedImage(tmp_path_factory.mktemp("damage"))


def objects(tar: bytes, extension: bytes) -> list[tuple[int, int]]:
    """Where members with an extension begin and end."""
    offsets = [(one.offset, one.path) for one in TarReader([tar])]
    ends = [offset for offset, _ in offsets[1:]] + [len(tar) - len(END)]
    return [(at, end) for (at, path), end in zip(offsets, ends, strict=True) if path.endswith(extension)]


@pytest.mark.parametrize("extension", [b".commit", b".dirtree", b".dirmeta", b".file", b".file-xattrs-link"])
@pytest.mark.parametrize("layer", [0, 1])
def test_object_that_is_missing(scene: ForgedImage, extension: bytes, layer: int) -> None:
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


def test_layer_of_contents_that_is_left_out(scene: ForgedImage) -> None:
    scene.forge(scene.tars[:-1])
    with pytest.raises(CommitMismatch, match="all of its commit"):
        scene.read()
    scene.assert_untouched()


def test_layers_in_another_order(scene: ForgedImage) -> None:
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
            CommitMismatch,
        ),
    ],
)
def test_config_that_says_otherwise(scene: ForgedImage, change: Change, error: type[SmidgenError]) -> None:
    scene.forge(scene.tars, change)
    with pytest.raises(error):
        scene.read()
    scene.assert_untouched()


def test_blob_that_is_damaged(scene: ForgedImage) -> None:
    stored = scene.root / blob_name(scene.blobs[-1])
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    try:
        with pytest.raises((DigestMismatch, FormatError)):
            scene.read("good")
        scene.assert_untouched()
    finally:
        stored.write_bytes(whole)


def test_image_without_layers(scene: ForgedImage) -> None:
    scene.forge([])
    with pytest.raises(ContainerInvalid):
        scene.read()
    scene.assert_untouched()


def test_image_that_is_not_there(scene: ForgedImage) -> None:
    with pytest.raises(NotFound):
        scene.read("nowhere")
    scene.assert_untouched()


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_byte_of_any_layer(
    tmp_path_factory: pytest.TempPathFactory, scene: ForgedImage, data: st.DataObject
) -> None:
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
