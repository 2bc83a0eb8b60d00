"""Garbage collection, on SQLite and PostgreSQL, alone and beside pushes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_server.index.tables.core import blob
from smidgen_server.index.tables.oci import oci_blob
from smidgen_server.index.tables.ostree import ostree_file
from smidgen_server.services import oci_blobs, oci_manifests, oci_uploads
from smidgen_server.services.container import Services, open_services
from smidgen_server.services.oci_gc import Collected, collect
from smidgen_server.settings import Settings
from support.oci_content import CONFIG, LAYER, MANIFEST

DAY = 86400


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Iterator[Services]:
    with open_services(Settings(data=tmp_path / "data", database=database_url)) as services:
        yield services


def push(services: Services, repo: str, data: bytes) -> Digest:
    digest = Digest.of(data)
    upload = oci_uploads.begin(services, repo)
    with services.uploads.append(upload) as writer:
        writer.write(data)
    oci_uploads.finish(services, repo, upload, digest)
    return digest


def push_image(services: Services, repo: str, layer: bytes, tag: str = "v1") -> Digest:
    def describe(data: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(push(services, repo, data)), "size": len(data)}

    body = {"config": describe(b"{}", CONFIG), "layers": [describe(layer, LAYER)]}
    document = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **body}).encode()
    given = oci_manifests.Given(document, MANIFEST)
    return oci_manifests.put(services, repo, tag, (), given).digest


def age(services: Services, seconds: int = 2 * DAY) -> None:
    """Let everything be older."""
    with services.index.session() as session:
        session.execute(update(blob).values(created=blob.c.created - seconds))
        session.execute(update(oci_blob).values(touched=oci_blob.c.touched - seconds))


def stored(services: Services) -> set[Digest]:
    return set(services.blobs.digests())


def test_what_a_manifest_needs_stays(services: Services) -> None:
    push_image(services, "a", b"layer")
    age(services)
    before = stored(services)
    assert len(before) == 3
    assert collect(services, DAY) == Collected()
    assert stored(services) == before


def test_unreferenced_blob_goes_after_the_grace_period(services: Services) -> None:
    lost = push(services, "a", b"nobody needs it")
    assert collect(services, DAY) == Collected()
    oci_blobs.find(services, "a", lost)
    age(services)
    assert collect(services, DAY) == Collected(links=1, blobs=1, bytes=15)
    assert stored(services) == set()
    with pytest.raises(BlobUnknown):
        oci_blobs.find(services, "a", lost)


def test_dry_run_changes_nothing(services: Services) -> None:
    push(services, "a", b"nobody needs it")
    age(services)
    before = stored(services)
    assert collect(services, DAY, dry_run=True).links == 1
    assert stored(services) == before
    assert collect(services, DAY).blobs == 1


def test_deleted_image_goes_but_for_what_others_share(services: Services) -> None:
    doomed = push_image(services, "a", b"only a")
    kept = push_image(services, "b", b"only b")
    oci_manifests.delete_manifest(services, "a", doomed)
    age(services)
    done = collect(services, DAY)
    assert (done.links, done.blobs) == (2, 2)
    assert stored(services) == {kept, Digest.of(b"{}"), Digest.of(b"only b")}
    assert oci_manifests.find(services, "b", "v1").digest == str(kept)


def test_same_blob_in_a_repository_that_needs_it_not(services: Services) -> None:
    push_image(services, "a", b"layer")
    layer = push(services, "b", b"layer")
    age(services)
    assert collect(services, DAY).links == 1
    oci_blobs.find(services, "a", layer)
    with pytest.raises(BlobUnknown):
        oci_blobs.find(services, "b", layer)


def test_blob_that_another_area_refers_to_stays(services: Services) -> None:
    """By foreign key: the collector has no list of who uses blobs."""
    digest = push(services, "a", b"a pack, say")
    with services.index.session() as session:
        link = oci_blobs.oci.find_blob(session, "a", str(digest))
        assert link is not None
        session.execute(ostree_file.insert().values(repo_id=link.repo_id, path="p", blob_id=link.blob_id))
    age(services)
    assert collect(services, DAY) == Collected(links=1)
    assert stored(services) == {digest}


def test_bytes_without_a_row_are_adopted_first(services: Services) -> None:
    with services.blobs.writer() as writer:
        writer.write(b"the server was killed before it wrote the row")
        digest, _ = writer.finish()
    assert collect(services, DAY) == Collected(adopted=1)
    assert collect(services, DAY) == Collected()
    assert stored(services) == {digest}
    age(services)
    assert collect(services, DAY).blobs == 1
    assert stored(services) == set()


def test_pusher_who_finds_a_blob_keeps_it(services: Services) -> None:
    """HEAD by somebody who may push, then a long pause, then the manifest."""
    digest = push(services, "a", b"layer")
    age(services)
    oci_blobs.touch(services, oci_blobs.find(services, "a", digest))
    assert collect(services, DAY) == Collected()
    oci_blobs.find(services, "a", digest)


def test_row_without_bytes_is_removed_and_can_be_pushed_again(services: Services) -> None:
    """The collector was killed between removing bytes and committing."""
    digest = push(services, "a", b"data")
    services.blobs.delete(digest)
    assert push(services, "a", b"data") == digest
    assert stored(services) == {digest}
    services.blobs.delete(digest)
    age(services)
    assert collect(services, DAY).blobs == 1


def test_pushes_and_collectors_at_once_lose_nothing(services: Services) -> None:
    """In every turn all images are deleted and old, and pushed again while collectors remove what they were made of."""
    bodies = [b"common", b"one", b"two"]
    turns, stop = 12, threading.Event()
    together = threading.Barrier(2, action=lambda: age(services), timeout=60)

    def collecting() -> int:
        removed = 0
        while not stop.is_set():
            removed += collect(services, DAY).blobs
        return removed

    def pushing(repo: str) -> None:
        for turn in range(turns):
            together.wait()
            digest = push_image(services, repo, bodies[turn % 3])
            check_image(services, repo, bodies[turn % 3])
            if turn < turns - 1:
                oci_manifests.delete_manifest(services, repo, digest)

    with ThreadPoolExecutor(4) as pool:
        collectors = [pool.submit(collecting) for _ in range(2)]
        pushers = [pool.submit(pushing, repo) for repo in ("a", "b")]
        try:
            for pusher in pushers:
                pusher.result()
        finally:
            stop.set()
        assert sum(collector.result() for collector in collectors) > 0
    for repo in ("a", "b"):
        check_image(services, repo, bodies[(turns - 1) % 3])


def check_image(services: Services, repo: str, layer: bytes) -> None:
    """Everything that the tag stands for can be read."""
    found = oci_manifests.find(services, repo, "v1")
    document = json.loads(oci_manifests.read(services, found))
    for descriptor in (document["config"], *document["layers"]):
        digest = Digest.parse(descriptor["digest"])
        oci_blobs.find(services, repo, digest)
        with services.blobs.open(digest) as blocks:
            digest.check(b"".join(blocks))
    assert document["layers"][0]["digest"] == str(Digest.of(layer))
