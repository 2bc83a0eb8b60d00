"""A pushed image is taken apart and can be put together again from its surface, on both databases."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import func, select

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.unpackers.layer import recompress_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_server.index import layers, repos
from smidgen_server.index.tables.core import content
from smidgen_server.index.tables.surface import pack
from smidgen_server.services import ingest_oci, ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.oci_content import CONFIG, LAYER, Content, Json, digest_of, layer_tar
from support.oci_files import write_layout
from support.ostree import REF, SECOND, unpack_archive_repo
from support.server import RunningServer, ServerFactory
from support.surface import fetch, fetch_blob, fetch_document


@pytest.fixture
def running(database_url: str, server_factory: ServerFactory) -> RunningServer:
    return server_factory(database=database_url)


def image_of(tars: list[bytes], *, pack_as: str = "+gzip") -> Content:
    """An image with these layers."""
    made = Content()
    stored = {"": lambda tar: tar, "+gzip": lambda tar: gzip.compress(tar, mtime=0), "+zstd": zstd.compress}[pack_as]
    descriptors = [made.blob(stored(tar), LAYER + pack_as) for tar in tars]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    made.manifest(made.blob(json.dumps(config).encode(), CONFIG), descriptors)
    return made.tag("v1")


def push(running: RunningServer, made: Content, name: str = "team/app") -> None:
    """Through the registry's own API, as any client does; waits until the surface is built."""
    with running.client() as client:
        for digest, data in made.blobs.items():
            client.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data).raise_for_status()
        for document in made.documents:
            put_manifest(client, name, document.digest, document.body, document.media_type)
        for tag, document in made.tags.items():
            put_manifest(client, name, tag, document.body, document.media_type)
    settle(running)


def put_manifest(client: object, name: str, reference: str, body: bytes, media_type: str) -> None:
    answer = client.put(  # type: ignore[attr-defined]
        f"/v2/{name}/manifests/{reference}", content=body, headers={"Content-Type": media_type}
    )
    assert answer.status_code == 201, answer.text


def settle(running: RunningServer) -> None:
    for row in running.services.tasks.listing((), None, 100):
        assert running.services.tasks.wait(row.id).state == "done", row.error


def count(running: RunningServer, table: object) -> int:
    with running.services.index.read() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


@pytest.mark.parametrize("pack_as", ["", "+gzip", "+zstd"])
def test_image_comes_back_from_its_surface(running: RunningServer, pack_as: str) -> None:
    shared, big = os.urandom(5000), os.urandom(5 << 20)
    tars = [
        layer_tar({"etc/one": b"one" * 100, "usr/shared": shared, "empty": b""}),
        layer_tar({"usr/shared": shared, "usr/again": shared, "big": big}),
    ]
    push(running, image_of(tars, pack_as=pack_as))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:v1")
        for layer, tar in zip(found.oci.layers, tars, strict=True):
            assert layer.diff_id == Digest.of(tar)
            stored = fetch_blob(client, layer.digest)
            assert len(stored) == layer.size
            if layer.recompress:
                assert b"".join(recompress_layer(layer.recompress, [tar])) == stored
            assert bool(layer.recompress) is (pack_as != "")
    assert (found.document.kind, found.document.repo, found.document.ref) == ("oci", "team/app", "v1")
    assert len(found.tree.contents) == count(running, content) == 3
    assert not found.oci.opaque and len(found.oci.blobs) == 1


def test_layout_is_published_in_process_with_the_same_result(running: RunningServer, tmp_path: Path) -> None:
    made = image_of([layer_tar({"a": os.urandom(300_000), "b": b"b"})])
    layout = Layout.open(write_layout(made, tmp_path / "layout"))
    digest = ingest_oci.publish(running.services, layout, "v1", "team/app", "latest", no_progress)
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:latest")
        assert client.get("/v2/team/app/manifests/latest").headers["docker-content-digest"] == str(digest)
    assert found.document.revision == digest
    settle(running)


def test_index_of_images(running: RunningServer) -> None:
    made = Content()
    made.platforms()
    push(running, made.tag("multi"))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:multi")
    assert len(found.oci.manifests) == 3 and len(found.oci.layers) == 4 and len(found.oci.blobs) == 2


def test_artifact_and_large_config_are_kept_whole(running: RunningServer) -> None:
    made = Content()
    config = made.blob(b"{}", "application/vnd.oci.empty.v1+json")
    large = made.blob(os.urandom(2 << 20), "application/vnd.example.thing")
    small = made.blob(b"small thing", "application/vnd.example.thing")
    made.manifest(config, [large, small], artifactType="application/vnd.example.thing")
    push(running, made.tag("v1"))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:v1")
        assert [str(one.digest) for one in found.oci.opaque] == [large["digest"]]
        assert {one.body for one in found.oci.blobs} == {b"{}", b"small thing"}
        assert fetch_blob(client, found.oci.opaque[0].digest) == made.blobs[large["digest"]]
    assert found.document.packs is None


def hostile_layers() -> dict[str, tuple[bytes, str]]:
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as tar:
        for _ in range(2):
            member = tarfile.TarInfo("same")
            member.size = 4
            tar.addfile(member, io.BytesIO(b"data"))
    cut = layer_tar({"file": bytes(5000)})[:3000]
    bomb = gzip.compress(bytes(80 << 20), mtime=0)
    return {
        "cut short": (gzip.compress(cut), "+gzip"),
        "damaged compression": (gzip.compress(twice.getvalue())[:-30] + bytes(30), "+gzip"),
        "bomb": (bomb, "+gzip"),
        "not what its type says": (twice.getvalue(), "+zstd"),
        "no tar at all": (b"GIF89a" + os.urandom(2000), ""),
    }


@pytest.mark.parametrize("what", list(hostile_layers()))
def test_hostile_layer_is_kept_whole_and_the_image_still_works(running: RunningServer, what: str) -> None:
    data, suffix = hostile_layers()[what]
    made = Content()
    good = layer_tar({"good": b"good file"})
    descriptors = [made.blob(data, LAYER + suffix), made.blob(gzip.compress(good), LAYER + "+gzip")]
    made.manifest(made.blob(b"{}", CONFIG), descriptors)
    push(running, made.tag("v1"))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:v1")
        assert [str(one.digest) for one in found.oci.opaque] == [descriptors[0]["digest"]]
        assert fetch_blob(client, found.oci.opaque[0].digest) == data
        assert client.get(f"/v2/team/app/blobs/{descriptors[0]['digest']}").content == data
    assert [str(one.digest) for one in found.oci.layers] == [descriptors[1]["digest"]]
    with running.services.index.read() as session:
        noted = layers.find_layer(session, Digest.parse(descriptors[0]["digest"]))
    assert isinstance(noted, layers.OpaqueLayer) and noted.reason


def test_layer_is_split_once_for_all_images_that_have_it(running: RunningServer) -> None:
    base = layer_tar({"base": os.urandom(50_000)})
    push(running, image_of([base, layer_tar({"app": b"1"})]))
    packs = count(running, pack)
    push(running, image_of([base, layer_tar({"app": b"2"})]), name="team/other")
    assert count(running, pack) == packs + 1
    with running.anonymous() as client:
        one, two = fetch(client, "oci/team/app:v1"), fetch(client, "oci/team/other:v1")
    assert one.packs.packs[0] in two.packs.packs


def test_private_image_is_packed_apart(running: RunningServer) -> None:
    made = image_of([layer_tar({"file": os.urandom(5000)})])
    with running.services.index.session() as session:
        repos.ensure_repo(session, "oci", "secret", public=False)
    push(running, made, name="secret")
    push(running, made, name="open")
    with running.client() as admin, running.anonymous() as client:
        secret, public = fetch(admin, "oci/secret:v1"), fetch(client, "oci/open:v1")
        assert client.get("/u/refs/oci/secret:v1.json").status_code == 401
        assert client.get(f"/u/blobs/{secret.document.packs.digest.hex}").status_code in (200, 401)  # type: ignore[union-attr]
    assert secret.oci.layers == public.oci.layers


def test_ostree_commit_and_image_share_contents(running: RunningServer, tmp_path: Path) -> None:
    from smidgen_deltas.ostree.repo import Repository

    toy = Repository.open(unpack_archive_repo(tmp_path))
    ingest_ostree.publish(running.services, toy, SECOND.hex(), "toy", REF, no_progress)
    with running.anonymous() as client:
        commit = fetch(client, f"ostree/toy/{REF}")
        packs, contents = count(running, pack), count(running, content)
        files = {f"file{at}": body for at, body in enumerate(commit.contents.values())}
        push(running, image_of([layer_tar(files)]))
        image = fetch(client, "oci/team/app:v1")
    assert image.contents == commit.contents
    assert (count(running, pack), count(running, content)) == (packs, contents)
    assert image.packs.packs == commit.packs.packs


def test_tag_that_moves_and_goes(running: RunningServer) -> None:
    first, second = image_of([layer_tar({"v": b"1"})]), image_of([layer_tar({"v": b"2"})])
    path = "oci/team/app:v1"
    with running.client() as client:
        for made, version in ((first, 1), (first, 1), (second, 2)):
            push(running, made)
            assert fetch_document(client, path).version == version
        assert client.delete("/v2/team/app/manifests/v1").status_code == 202
        assert client.get(f"/u/refs/{path}.json").status_code == 404
        push(running, first)
        assert fetch_document(client, path).version == 4


def test_index_may_be_sparse_and_names_nothing_of_others(server_factory: ServerFactory) -> None:
    running = server_factory(oci={"sparse": True})
    made = Content()
    other: Json = image_of([layer_tar({"x": b"x"})]).documents[0].descriptor()
    image = made.image()
    made.index([image.descriptor(), other])
    push(running, made.tag("v1"))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:v1")
    assert len(found.oci.manifests) == 2


def test_sha512_image(running: RunningServer) -> None:
    made = Content(algorithm="sha512")
    made.image(layers=1)
    push(running, made.tag("v1"))
    with running.anonymous() as client:
        found = fetch(client, "oci/team/app:v1")
    body = made.documents[-1].body
    manifest = found.oci.manifests[0]
    assert hashlib.sha256(body).hexdigest() == hashlib.sha256(manifest.body).hexdigest()
