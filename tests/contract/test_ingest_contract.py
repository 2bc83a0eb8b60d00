"""Publishing ostree commits does the same on both databases."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import func, select

from smidgen_deltas.errors import DigestMismatch, FormatError, IntegrityError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.filez import encode_filez_header, write_filez
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import (
    Commit,
    DirMeta,
    DirTree,
    FileHeader,
    ObjectName,
    ObjectType,
    checksum_file,
    loose_path,
)
from smidgen_deltas.ostree.repo import ObjectMissing, Repository
from smidgen_deltas.ostree.walk import closure
from smidgen_server.index import repos
from smidgen_server.index.base import insert_ignore
from smidgen_server.index.tables.core import content
from smidgen_server.index.tables.ostree import deflated, ostree_file, ostree_object, ostree_visible
from smidgen_server.index.tables.surface import pack, ref
from smidgen_server.services import ingest_ostree
from smidgen_server.services.stored import record_blob
from smidgen_server.services.tasks import no_progress
from support.ostree import FIRST, REF, SECOND, unpack_archive_repo
from support.ostree_push import PushClient, objects_of
from support.server import RunningServer, ServerFactory
from support.surface import fetch, fetch_document

PATH = f"ostree/toy/{REF}"


@pytest.fixture
def running(database_url: str, server_factory: ServerFactory) -> RunningServer:
    return server_factory(database=database_url, default_ostree_repo="toy")


@pytest.fixture
def toy(tmp_path: Path) -> Repository:
    return Repository.open(unpack_archive_repo(tmp_path / "source"))


def publish(running: RunningServer, toy: Repository, commit: bytes, repo: str = "toy") -> int:
    done = ingest_ostree.publish(running.services, toy, commit.hex(), repo, REF, no_progress)
    return done.objects


def count(running: RunningServer, table: object) -> int:
    with running.services.index.read() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def test_published_commit_is_served_to_our_client(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        found = fetch(client, PATH)
    assert found.document.revision.raw == SECOND
    assert found.document.version == 1
    assert found.ostree.commitmeta == toy.commitmeta(SECOND)
    names = {visited.name for visited in closure(toy.metadata, SECOND)}
    got = {ObjectName(ObjectType.FILE, one.checksum) for one in found.ostree.files}
    for kind, bodies in ((ObjectType.DIRTREE, found.ostree.dirtrees), (ObjectType.DIRMETA, found.ostree.dirmetas)):
        got |= {ObjectName(kind, hashlib.sha256(body).digest()) for body in bodies}
    assert got | {ObjectName(ObjectType.COMMIT, SECOND)} == names


def test_every_object_is_served_to_stock_clients_byte_for_byte(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        for visited in closure(toy.metadata, SECOND):
            path = loose_path(visited.name, "archive")
            answer = client.get(f"/repo/{path}")
            assert answer.status_code == 200, path
            assert answer.content == (toy.path / path).read_bytes(), path
            assert client.head(f"/ostree/toy/{path}").headers["content-length"] == str(len(answer.content))
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            again = client.get(f"/ostree/toy/{path}", headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
        meta = client.get(f"/repo/objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commitmeta")
        assert meta.content == toy.commitmeta(SECOND)
        assert meta.headers["cache-control"] == "no-cache"
        assert client.get(f"/repo/refs/heads/{REF}").text == SECOND.hex() + "\n"
        assert "mode=archive-z2" in client.get("/repo/config").text


def test_what_is_not_there_is_404(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        for path in (
            f"objects/{FIRST.hex()[:2]}/{FIRST.hex()[2:]}.commit",
            f"objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.filez",
            f"objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.tombstone-commit",
            "refs/heads/toy",
            "deltas/ab/c+d/superblock",
            "delta-indexes/ab/cd.index",
            "objects/00/config",
            "",
        ):
            assert client.get(f"/repo/{path}").status_code == 404, path
        assert client.get("/ostree/nowhere/config").status_code == 404
        assert client.post("/repo/config").status_code == 405


def test_second_version_reuses_what_the_first_one_has(running: RunningServer, toy: Repository) -> None:
    first = publish(running, toy, FIRST)
    packs = count(running, pack)
    second = publish(running, toy, SECOND)
    assert 0 < second < first
    assert publish(running, toy, SECOND) == 0
    with running.anonymous() as client:
        found = fetch(client, PATH)
    assert found.document.version == 2
    assert len(found.packs.packs) == count(running, pack) == packs + 1


def test_versions_only_grow_and_the_same_target_changes_nothing(running: RunningServer, toy: Repository) -> None:
    versions = []
    with running.client() as client:
        for commit in (FIRST, FIRST, SECOND, FIRST):
            publish(running, toy, commit)
            versions.append(fetch_document(client, PATH).version)
        assert client.delete(f"/api/v1/refs/ostree/toy/{REF}").status_code == 204
        assert client.get(f"/u/refs/{PATH}.json").status_code == 404
        assert client.get(f"/repo/refs/heads/{REF}").status_code == 404
        publish(running, toy, FIRST)
        versions.append(fetch_document(client, PATH).version)
    assert versions == [1, 1, 2, 3, 5]


def test_new_signatures_make_a_new_tree_of_the_same_commit(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    more = gvariant.encode("a{sv}", {"later": Variant("s", "signed")})
    with running.client() as client:
        before = fetch(client, PATH)
        put = client.put(f"/api/v1/ostree/toy/commitmeta/{SECOND.hex()}", content=more)
        assert put.status_code == 204
        assert client.put(f"/api/v1/ostree/toy/commitmeta/{SECOND.hex()}", content=b"\1\2").status_code == 400
        task = client.put(f"/api/v1/ostree/toy/refs/{REF}", json={"commit": SECOND.hex()}).json()["task"]
        assert running.services.tasks.wait(task).state == "done"
        after = fetch(client, PATH)
    assert (before.document.version, after.document.version) == (1, 2)
    assert after.ostree.commitmeta == more
    assert after.document.packs == before.document.packs


def test_one_content_under_many_owners_is_stored_once(running: RunningServer) -> None:
    body, names = b"the same bytes\n" * 100, []
    records = []
    for uid in range(5):
        header = FileHeader(uid, 0, 0o100644)
        name = ObjectName(ObjectType.FILE, checksum_file(header, [body]))
        records.append((name, b"".join(write_filez(header, len(body), [body]))))
        names.append(name)
    with running.client() as client:
        push = PushClient(client, "toy")
        assert push.send(records[:2]) == 2
        assert push.send(records) == 5
        for name, data in records:
            assert client.get(f"/ostree/toy/{loose_path(name, 'archive')}").content == data
    assert count(running, ostree_object) == 5
    assert count(running, content) == count(running, deflated) == 1


def test_another_repository_shares_objects_but_not_its_refs(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    known = count(running, ostree_object)
    assert publish(running, toy, SECOND, repo="other") == 0
    assert count(running, ostree_object) == known
    assert count(running, ostree_visible) == 2 * known
    with running.anonymous() as client:
        assert fetch(client, f"ostree/other/{REF}").document.version == 1


def test_damaged_source_changes_nothing_that_is_seen(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, FIRST)
    old = {one.name for one in closure(toy.metadata, FIRST)}
    new = [one.name for one in closure(toy.metadata, SECOND) if one.name.type is ObjectType.FILE]
    lost = [name for name in new if name not in old][-1]
    path = toy.path / loose_path(lost, "archive")
    body = path.read_bytes()
    path.unlink()
    with pytest.raises(ObjectMissing):
        publish(running, toy, SECOND)
    path.write_bytes(body[:-20] + bytes(20))
    with pytest.raises((FormatError, IntegrityError)):
        publish(running, toy, SECOND)
    with running.anonymous() as client:
        assert fetch(client, PATH).document.revision.raw == FIRST
        assert client.get(f"/repo/objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commit").status_code == 404
    path.write_bytes(body)
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        assert fetch(client, PATH).document.revision.raw == SECOND


def test_push_of_a_commit(running: RunningServer, toy: Repository) -> None:
    with running.client() as client:
        push = PushClient(client, "toy")
        wanted = objects_of(toy, SECOND)
        assert push.missing([name for name, _ in wanted]) == [name for name, _ in wanted]
        half = len(wanted) // 2
        assert push.send(wanted[:half]) == half
        assert push.missing([name for name, _ in wanted]) == [name for name, _ in wanted[half:]]
        failed = push.set_ref(running.services.tasks, REF, SECOND)
        assert failed.state == "failed" and failed.error is not None
        assert failed.error["code"] == "MANIFEST_BLOB_UNKNOWN"
        assert client.get(f"/u/refs/{PATH}.json").status_code == 404
        assert push.send(wanted[half:]) == len(wanted) - half
        assert client.get(f"/repo/objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commit").status_code == 404
        assert push.set_ref(running.services.tasks, REF, SECOND).state == "done"
        assert client.get(f"/repo/objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commit").status_code == 200
        assert fetch(client, PATH).document.revision.raw == SECOND


def test_pushed_object_that_is_not_its_name_is_refused_and_what_came_before_is_kept(
    running: RunningServer, toy: Repository
) -> None:
    wanted = objects_of(toy, SECOND)
    (good_name, good), (name, _), (_, other) = wanted[0], wanted[1], wanted[2]
    with running.client() as client:
        push = PushClient(client, "toy")
        answer = push.post([(good_name, good), (name, other)])
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in ("DIGEST_INVALID", "MANIFEST_INVALID")
        assert push.missing([good_name, name]) == [name]


@pytest.mark.parametrize(
    "body",
    [
        b"\x01" + bytes(32),
        b"\x01" + bytes(32) + (100).to_bytes(8, "big") + b"short",
        b"\x06" + bytes(32) + (1).to_bytes(8, "big") + b"x",
        b"\x02" + bytes(32) + (1 << 60).to_bytes(8, "big"),
        b"\xff" * 41,
    ],
)
def test_malformed_records_are_refused(running: RunningServer, body: bytes) -> None:
    with running.client() as client:
        answer = client.post("/api/v1/ostree/toy/objects", content=body)
        assert answer.status_code in (400, 413)
        assert answer.json()["error"]["advice"]
        assert client.post("/api/v1/ostree/toy/missing", content=body).status_code == (400 if len(body) % 33 else 200)


def test_metadata_that_is_no_metadata_is_refused(running: RunningServer) -> None:
    body = b"not a dirtree"
    name = ObjectName(ObjectType.DIRTREE, hashlib.sha256(body).digest())
    with running.client() as client:
        assert PushClient(client, "toy").post([(name, body)]).status_code == 400


def test_a_tree_with_symlinks_and_empty_files_only_has_no_packs(running: RunningServer) -> None:
    meta = DirMeta(0, 0, 0o40755).encode()
    link = FileHeader(0, 0, 0o120777, (), "target")
    empty = FileHeader(0, 0, 0o100644)
    names = {header: hashlib.sha256(header.prefix()).digest() for header in (link, empty)}
    tree = DirTree((("empty", names[empty]), ("link", names[link])), ()).encode()
    roots = hashlib.sha256(tree).digest(), hashlib.sha256(meta).digest()
    commit = Commit({}, None, (), "s", "", 1, *roots).encode()
    checksum = hashlib.sha256(commit).digest()
    objects = [
        (ObjectName(ObjectType.FILE, names[link]), encode_filez_header(link, 0)),
        (ObjectName(ObjectType.FILE, names[empty]), encode_filez_header(empty, 0) + b"\x03\x00"),
        (ObjectName(ObjectType.DIRMETA, roots[1]), meta),
        (ObjectName(ObjectType.DIRTREE, roots[0]), tree),
        (ObjectName(ObjectType.COMMIT, checksum), commit),
    ]
    with running.client() as client:
        push = PushClient(client, "toy")
        assert push.send(objects) == 5
        assert push.set_ref(running.services.tasks, "plain", checksum).state == "done"
        found = fetch(client, "ostree/toy/plain")
        assert found.document.packs is None and found.document.count == 0
        for name, body in objects[:2]:
            assert client.get(f"/repo/{loose_path(name, 'archive')}").content == body


def test_refs_show_up_in_listings(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.client() as client:
        (shown,) = client.get("/api/v1/repos").json()["repos"]
        assert shown == {"kind": "ostree", "name": "toy", "public": True, "refs": {REF: f"sha256:{SECOND.hex()}"}}
        (one,) = client.get("/api/v1/revisions/ostree/toy").json()["revisions"]
        assert (one["digest"], one["version"], one["kernel"]) == (f"sha256:{SECOND.hex()}", "2.0", None)
        refused = client.delete("/api/v1/revisions/ostree/toy", params={"digest": one["digest"]})
        assert refused.status_code == 409
    with running.services.index.read() as session:
        assert session.execute(select(ref.c.name)).scalars().all() == [REF]


def test_private_repository_asks_for_a_right(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    with running.client() as admin, running.anonymous() as client:
        assert client.put("/api/v1/repos/ostree/secret", json={"public": False}).status_code == 401
        assert admin.put("/api/v1/repos/ostree/secret", json={"public": False}).status_code == 204
    publish(running, toy, SECOND, repo="secret")
    commit = f"objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commit"
    with running.anonymous() as client, running.client() as admin:
        for path in ("/ostree/secret/config", f"/ostree/secret/{commit}", f"/u/refs/ostree/secret/{REF}.json"):
            assert client.get(path).status_code == 401, path
            assert admin.get(path).status_code == 200, path
            assert "private" in admin.get(path).headers["cache-control"] or path.endswith("config")
        assert client.post("/api/v1/ostree/toy/missing", content=b"").status_code == 401
        assert client.get("/api/v1/tasks").status_code == 401
        assert [one["name"] for one in client.get("/api/v1/repos").json()["repos"]] == ["toy"]


def test_private_contents_are_in_packs_of_their_own(running: RunningServer, toy: Repository) -> None:
    with running.services.index.session() as session:
        repos.ensure_repo(session, "ostree", "secret", public=False)
    publish(running, toy, SECOND, repo="secret")
    publish(running, toy, FIRST)
    with running.anonymous() as client, running.client() as admin:
        secret = fetch(admin, f"ostree/secret/{REF}")
        public = fetch(client, PATH)
        for one in secret.packs.packs:
            assert one not in public.packs.packs
            assert client.get(f"/u/blobs/{one.digest.hex}").status_code == 401


def test_verification_names_both_digests(running: RunningServer, toy: Repository) -> None:
    (name, *_) = [one.name for one in closure(toy.metadata, SECOND) if one.name.type is ObjectType.DIRMETA]
    (toy.path / loose_path(name, "archive")).write_bytes(DirMeta(1, 1, 0o40700).encode())
    with pytest.raises(DigestMismatch) as caught:
        publish(running, toy, SECOND)
    assert set(caught.value.detail) >= {"expected", "found"}


def test_summary_is_signed_by_the_server_and_stays_when_nothing_changes(
    running: RunningServer, toy: Repository
) -> None:
    publish(running, toy, SECOND)
    with running.anonymous() as client:
        summary = client.get("/repo/summary")
        signatures = gvariant.decode("a{sv}", client.get("/repo/summary.sig").content)["ostree.sign.ed25519"].value
        for key, signature in zip(running.services.keys.public().values(), signatures, strict=True):
            key.verify(signature, summary.content)
        modified = summary.headers["last-modified"]
        conditional = {"If-Modified-Since": modified.replace("GMT", "UTC")}
        assert client.get("/repo/summary", headers=conditional).status_code == 304
        publish(running, toy, SECOND)
        assert client.get("/repo/summary").content == summary.content
        publish(running, toy, FIRST)
        assert client.get("/repo/summary").content != summary.content


def test_stored_delta_files_are_served_with_a_plus_in_their_path(running: RunningServer, toy: Repository) -> None:
    publish(running, toy, SECOND)
    path = "deltas/ab/c+d-ef+g/superblock"
    with running.services.blobs.writer() as writer:
        writer.write(b"a delta")
        digest, size = writer.finish()
    with running.services.index.session() as session:
        repo_id = repos.find_repo(session, "ostree", "toy")
        blob_id = record_blob(session, running.services.blobs, digest, size)
        insert_ignore(session, ostree_file, [{"repo_id": repo_id, "path": path, "blob_id": blob_id}])
    with running.anonymous() as client:
        for sent in (path, path.replace("+", "%2B")):
            assert client.get(f"/repo/{sent}").content == b"a delta"
        assert client.get(f"/repo/{path.replace('+', ' ')}").status_code == 404
