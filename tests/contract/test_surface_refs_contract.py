"""Ref documents over time, and what garbage collection may take, on both databases."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from smidgen_deltas.native.refdoc import check_freshness, key_id, verify
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import tasks as task_rows
from smidgen_server.index.tables.core import blob, content
from smidgen_server.index.tables.oci import oci_blob, oci_manifest
from smidgen_server.index.tables.ostree import deflated, ostree_object, ostree_visible
from smidgen_server.index.tables.surface import frame, layer, location, pack, ref, revision
from smidgen_server.services import ingest_ostree
from smidgen_server.services.collect import Removed, collect_all
from smidgen_server.services.refs import LIFETIME, REFRESH
from smidgen_server.services.tasks import no_progress
from support.oci_content import Content
from support.ostree import FIRST, REF, SECOND, unpack_archive_repo
from support.ostree_push import PushClient, objects_of
from support.server import RunningServer, ServerFactory
from support.surface import fetch, fetch_document

PATH = f"ostree/toy/{REF}"
DAY = 86400


@pytest.fixture
def running(database_url: str, server_factory: ServerFactory) -> RunningServer:
    return server_factory(database=database_url)


@pytest.fixture
def toy(tmp_path: Path) -> Repository:
    return Repository.open(unpack_archive_repo(tmp_path / "source"))


def publish(running: RunningServer, toy: Repository, commit: bytes, repo: str = "toy", ref: str = REF) -> None:
    ingest_ostree.publish(running.services, toy, commit.hex(), repo, ref, no_progress)


def count(running: RunningServer, table: object) -> int:
    with running.services.index.read() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def age(running: RunningServer, seconds: int) -> None:
    """As if everything had happened so much earlier."""
    with running.services.index.session() as session:
        for column in (blob.c.created, oci_blob.c.touched, ostree_visible.c.added, revision.c.created, ref.c.signed):
            session.execute(update(column.table).values({column.name: column - seconds}))


def collect(running: RunningServer, grace: int = DAY, keep: int = 0) -> Removed:
    return collect_all(running.services, grace=grace, keep=keep, progress=no_progress)


def test_document_is_signed_again_when_it_grows_old(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        first = client.get(f"/u/refs/{PATH}.json")
        again = client.get(f"/u/refs/{PATH}.json", headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        assert first.headers["cache-control"] == "public, max-age=30, must-revalidate"
        before = fetch_document(client, PATH)
        age(running, REFRESH + 10)
        after = fetch_document(client, PATH)
    assert after.expires >= before.expires and (after.version, after.published) == (before.version, before.published)
    check_freshness(after, seen_version=before.version, now=int(time.time()) + LIFETIME - 60)
    assert len(first.content) <= 2048


def test_new_key_signs_beside_the_old_one(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    old = running.services.keys.public()
    new = running.services.keys.new()
    with running.anonymous() as client:
        data = client.get(f"/u/refs/{PATH}.json").content
        assert set(client.get("/u/keys.json").json()["keys"]) == {*old, new}
    both = running.services.keys.public()
    assert len(both) == 2
    for name, key in both.items():
        assert key_id(key) == name
        verify(data, {name: key})


def test_nothing_that_is_needed_goes(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, FIRST)
    publish(running, toy, SECOND)
    age(running, 10 * DAY)
    collect(running, keep=5)
    with running.anonymous() as client:
        assert fetch(client, PATH).document.revision.raw == SECOND
    assert count(running, revision) == 2
    publish(running, toy, FIRST)
    with running.anonymous() as client:
        assert fetch(client, PATH).document.revision.raw == FIRST


def test_everything_goes_once_nothing_needs_it(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, FIRST)
    publish(running, toy, SECOND)
    push_image(running)
    with running.client() as client:
        client.delete(f"/api/v1/refs/ostree/toy/{REF}").raise_for_status()
        client.delete("/v2/app/manifests/v1").raise_for_status()
        delete_manifests(running)
    assert collect(running).revisions == 0, "what is young is spared"
    age(running, 2 * DAY)
    removed = collect(running)
    assert removed.revisions == 3 and removed.objects and removed.packs and removed.layers and removed.blobs
    for table in (revision, ostree_visible, ostree_object, deflated, pack, frame, location, layer, content):
        assert count(running, table) == 0, table
    collect(running, grace=0)
    assert list(running.services.blobs.digests()) == []


def push_image(running: RunningServer) -> None:
    made = Content()
    made.image()
    made.tag("v1")
    with running.client() as client:
        for digest, data in made.blobs.items():
            client.post("/v2/app/blobs/uploads/", params={"digest": digest}, content=data).raise_for_status()
        (document,) = made.documents
        headers = {"Content-Type": document.media_type}
        client.put("/v2/app/manifests/v1", content=document.body, headers=headers).raise_for_status()
    for row in running.services.tasks.listing((), None, 10):
        assert running.services.tasks.wait(row.id).state == task_rows.DONE


def delete_manifests(running: RunningServer) -> None:
    with running.services.index.read() as session:
        digests = list(session.scalars(select(oci_manifest.c.digest)))
    with running.client() as client:
        for digest in digests:
            assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202


def test_old_revisions_go_but_shared_objects_stay(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, FIRST)
    publish(running, toy, SECOND)
    age(running, 2 * DAY)
    removed = collect(running, keep=0)
    assert removed.revisions == 1 and removed.shown > 0
    with running.anonymous() as client:
        assert fetch(client, PATH).document.revision.raw == SECOND
        commit = f"objects/{FIRST.hex()[:2]}/{FIRST.hex()[2:]}.commit"
        assert client.get(f"/ostree/toy/{commit}").status_code == 404
    with running.client() as client:
        (one,) = client.get("/api/v1/revisions/ostree/toy").json()["revisions"]
        assert one["digest"] == f"sha256:{SECOND.hex()}"


def test_half_pushed_objects_live_for_the_grace_period(running: RunningServer, toy: Repository) -> None:
    wanted = objects_of(toy, SECOND)
    with running.client() as client:
        push = PushClient(client, "toy")
        push.send(wanted[:10])
        collect(running)
        assert len(push.missing([name for name, _ in wanted])) == len(wanted) - 10
        age(running, 2 * DAY)
        assert len(push.missing([name for name, _ in wanted])) == len(wanted) - 10, "asking makes them young"
        collect(running)
        assert len(push.missing([name for name, _ in wanted])) == len(wanted) - 10
        age(running, 2 * DAY)
        collect(running)
        assert len(push.missing([name for name, _ in wanted])) == len(wanted)
        push.send(wanted)
        assert push.set_ref(running.services.tasks, REF, SECOND).state == "done"
        fetch(client, PATH)


def test_collecting_is_a_task(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.client() as client, running.anonymous() as stranger:
        assert stranger.post("/api/v1/gc").status_code == 401
        number = client.post("/api/v1/gc", json={"grace": 0, "keep": 0}).json()["task"]
        assert running.services.tasks.wait(number).state == "done"
        assert client.get("/api/v1/tasks", params={"state": "done"}).json()["tasks"][0]["kind"] == "gc"
        assert client.post("/api/v1/gc", json={"grace": -1}).status_code == 400
        fetch(client, PATH)


def test_deleted_revision_is_gone_when_no_ref_needs_it(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, FIRST)
    publish(running, toy, SECOND)
    with running.client() as client:
        before = fetch(client, PATH)
        url, params = "/api/v1/revisions/ostree/toy", {"digest": f"sha256:{FIRST.hex()}"}
        assert client.delete(url, params=params).status_code == 204
        assert client.delete(url, params=params).status_code == 404
        assert fetch(client, PATH).document == before.document
