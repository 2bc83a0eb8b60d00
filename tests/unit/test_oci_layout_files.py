"""Image layouts: reading directories and archives, writing, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import (
    BlobUnknown,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    SmidgenError,
    UnsupportedFeature,
    UsageError,
)
from smidgen_deltas.oci import media
from smidgen_deltas.oci.build import encode_index, encode_manifest
from smidgen_deltas.oci.layout import REF_NAME, Layout, TagAmbiguous
from smidgen_deltas.oci.layout_files import LayoutInvalid
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor, Index, Manifest
from support import tars

LAYER = tars.member(b"file", b"content") + tars.END


def image(writer: LayoutWriter, mark: str = "") -> Descriptor:
    """Store an image; its descriptor."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(LAYER))]}, "created": mark}).encode()
    described = [
        Descriptor(kind, writer.put_bytes(body), len(body), {})
        for kind, body in ((media.OCI_CONFIG, config), (media.OCI_LAYER, LAYER))
    ]
    body = encode_manifest(described[0], described[1:])
    return Descriptor(media.OCI_MANIFEST, writer.put_bytes(body), len(body), {})


@pytest.fixture
def writer(tmp_path: Path) -> LayoutWriter:
    return LayoutWriter.open_or_create(tmp_path / "layout")


def archived(directory: Path, target: Path, prefix: str = "") -> Path:
    with tarfile.open(target, "w") as tar:
        for path in sorted(directory.rglob("*")):
            tar.add(path, prefix + str(path.relative_to(directory)), recursive=False)
    return target


@pytest.fixture(params=["directory", "archive", "archive with ./"])
def layout(request: pytest.FixtureRequest, tmp_path: Path, writer: LayoutWriter) -> Layout:
    """The same layout with tags a and b, in all forms that can be read."""
    writer.set_ref("a", image(writer))
    writer.set_ref("b", image(writer, "other"))
    if request.param == "directory":
        return Layout.open(tmp_path / "layout")
    prefix = "./" if request.param.endswith("./") else ""
    return Layout.open(archived(tmp_path / "layout", tmp_path / "layout.tar", prefix))


def test_images_are_found_and_read(layout: Layout) -> None:
    assert list(layout.tags()) == ["a", "b"]
    found = layout.manifest(layout.resolve("a"))
    assert isinstance(found, Manifest)
    with layout.open_blob(found.layers[0].digest) as reader:
        assert b"".join(iter(lambda: reader.read(100), b"")) == LAYER
    assert layout.read_blob(found.config).startswith(b"{")
    assert layout.blob_size(found.layers[0].digest) == len(LAYER)
    assert layout.resolve(str(layout.resolve("b").digest)) == layout.resolve("b")


def test_what_is_not_there(layout: Layout) -> None:
    missing = Digest.of(b"missing")
    with pytest.raises(NotFound):
        layout.resolve("c")
    with pytest.raises(TagAmbiguous):
        layout.resolve()
    with pytest.raises(BlobUnknown):
        layout.blob_size(missing)
    with pytest.raises(BlobUnknown), layout.open_blob(missing):
        pass
    assert not layout.has_blob(missing)


def test_the_only_image_needs_no_name(tmp_path: Path, writer: LayoutWriter) -> None:
    descriptor = image(writer)
    writer.set_ref("only", descriptor)
    assert writer.layout().resolve().digest == descriptor.digest


def test_nested_indexes(writer: LayoutWriter) -> None:
    body = encode_index([image(writer)])
    writer.set_ref("multi", Descriptor(media.OCI_INDEX, writer.put_bytes(body), len(body), {}))
    layout = writer.layout()
    outer = layout.manifest(layout.resolve("multi"))
    assert isinstance(outer, Index)
    assert isinstance(layout.manifest(outer.manifests[0]), Manifest)


def test_damaged_blobs_never_end_normally(tmp_path: Path, writer: LayoutWriter) -> None:
    descriptor = image(writer)
    path = tmp_path / "layout" / "blobs" / "sha256" / descriptor.digest.hex
    path.write_bytes(path.read_bytes().replace(b"schema", b"Schema"))
    layout = writer.layout()
    with pytest.raises(DigestMismatch):
        layout.manifest(descriptor)
    with pytest.raises(DigestMismatch), layout.open_blob(descriptor.digest) as reader:
        while reader.read(10):
            pass
    path.write_bytes(b"{}")
    with pytest.raises(SizeMismatch):
        layout.manifest(descriptor)


def test_blobs_are_bounded(writer: LayoutWriter) -> None:
    descriptor = image(writer)
    with pytest.raises(LimitExceeded):
        writer.layout().read_blob(descriptor, limit=descriptor.size - 1)


# -- writing ---------------------------------------------------------------------------------------------------------


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("blocks", "size", "error"),
    [
        ([b"wrong"], None, DigestMismatch),
        ([b"wrong"], 5, DigestMismatch),
        ([b"right", b"!"], 5, SizeMismatch),
        ([b"righ"], 5, SizeMismatch),
    ],
)
def test_wrong_blobs_leave_nothing(
    tmp_path: Path, writer: LayoutWriter, blocks: list[bytes], size: int | None, error: type[SmidgenError]
) -> None:
    with pytest.raises(error):
        writer.put_blob(Digest.of(b"right"), blocks, size)
    assert files(tmp_path / "layout") == {"oci-layout", "index.json"}


def test_writing_stops_at_the_size(writer: LayoutWriter) -> None:
    asked = iter([b"right", b"!", b"!", b"!"])
    with pytest.raises(SizeMismatch):
        writer.put_blob(Digest.of(b"right"), asked, 5)
    assert len(list(asked)) == 2


def test_blobs_that_are_there_are_not_read_again(writer: LayoutWriter) -> None:
    digest = writer.put_bytes(b"once")
    blocks = iter([b"once"])
    writer.put_blob(digest, blocks)
    assert next(blocks) == b"once"


def test_sha512_blobs(tmp_path: Path, writer: LayoutWriter) -> None:
    digest = Digest.of(b"x", "sha512")
    writer.put_blob(digest, [b"x"])
    assert (tmp_path / "layout" / "blobs" / "sha512" / digest.hex).read_bytes() == b"x"


def test_refs_are_replaced_and_others_kept(tmp_path: Path, writer: LayoutWriter) -> None:
    first, second = image(writer, "1"), image(writer, "2")
    index = tmp_path / "layout" / "index.json"
    document: dict[str, Any] = json.loads(index.read_bytes())
    document |= {"annotations": {"kept": "yes"}, "vendor": 1}
    document["manifests"].append({"mediaType": "x/y", "digest": str(Digest.of(b"z")), "size": 1, "vendor": 2})
    index.write_text(json.dumps(document))
    writer.set_ref("a", first)
    writer.set_ref("b", first)
    writer.set_ref("a", second)
    layout = writer.layout()
    assert (layout.resolve("a").digest, layout.resolve("b").digest) == (second.digest, first.digest)
    assert layout.resolve("a").annotations == {REF_NAME: "a"}
    written = json.loads(index.read_bytes())
    assert (written["annotations"], written["vendor"], written["manifests"][0]["vendor"]) == ({"kept": "yes"}, 1, 2)
    writer.remove_ref("a")
    assert list(writer.layout().tags()) == ["b"]


def test_refs_need_their_manifest_and_a_name(writer: LayoutWriter) -> None:
    with pytest.raises(BlobUnknown):
        writer.set_ref("a", Descriptor(media.OCI_MANIFEST, Digest.of(b"not there"), 9, {}))
    for name in ("", "a b", "a\n", "x" * 300):
        with pytest.raises(UsageError):
            writer.set_ref(name, image(writer))


def test_an_existing_layout_is_opened_as_it_is(tmp_path: Path, writer: LayoutWriter) -> None:
    writer.set_ref("a", image(writer))
    again = LayoutWriter.open_or_create(tmp_path / "layout")
    assert list(again.layout().tags()) == ["a"]


def test_writers_at_the_same_time_lose_no_ref(tmp_path: Path, writer: LayoutWriter) -> None:
    descriptor = image(writer)

    def work(number: int) -> None:
        own = LayoutWriter.open_or_create(tmp_path / "layout")
        for at in range(5):
            own.set_ref(f"t{number}-{at}", descriptor)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(writer.layout().tags()) == 20
    assert not list((tmp_path / "layout").rglob(".tmp-*"))


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("oci-layout", None, LayoutInvalid),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', LayoutInvalid),
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}', SmidgenError),
        ("index.json", None, LayoutInvalid),
        ("index.json", b"{}", SmidgenError),
        ("index.json", b" " * (5 << 20), LimitExceeded),
    ],
)
def test_broken_layouts(
    tmp_path: Path, writer: LayoutWriter, name: str, body: bytes | None, error: type[SmidgenError]
) -> None:
    path = tmp_path / "layout" / name
    path.unlink()
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(error):
        Layout.open(tmp_path / "layout")


def test_two_images_of_one_name(tmp_path: Path, writer: LayoutWriter) -> None:
    entries = [
        {"mediaType": media.OCI_MANIFEST, "digest": str(one.digest), "size": one.size, "annotations": {REF_NAME: "a"}}
        for one in (image(writer, "1"), image(writer, "2"))
    ]
    (tmp_path / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    with pytest.raises(TagAmbiguous):
        writer.layout().resolve("a")


def test_a_directory_or_fifo_is_no_blob(tmp_path: Path, writer: LayoutWriter) -> None:
    digest = Digest.of(b"x")
    (tmp_path / "layout" / "blobs" / "sha256" / digest.hex).mkdir()
    assert not writer.layout().has_blob(digest)


def test_archives_that_are_refused(tmp_path: Path, writer: LayoutWriter) -> None:
    plain = archived(tmp_path / "layout", tmp_path / "a.tar").read_bytes()
    end = plain.rindex(b"ustar") - 257 + 1024
    twice = tars.member(b"index.json", b"{}")
    linked = tars.header(b"blobs/x", typeflag=b"2", linkname=b"/etc/passwd")
    outside = tars.member(b"../index.json", b"{}")
    for added, error in ((twice, LayoutInvalid), (linked, LayoutInvalid), (outside, SmidgenError)):
        (tmp_path / "b.tar").write_bytes(added + plain[:end] + tars.END)
        with pytest.raises(error):
            Layout.open(tmp_path / "b.tar")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "layout", ".")
    (tmp_path / "c.tar").write_bytes(buffer.getvalue())
    with pytest.raises(UnsupportedFeature):
        Layout.open(tmp_path / "c.tar")
    with pytest.raises(NotFound):
        Layout.open(tmp_path / "nowhere")
