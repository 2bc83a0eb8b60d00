"""The registry over HTTP, where the specification leaves it to us: rights, races, limits, resuming, caching."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.services import oci_blobs
from support.oci_client import OCTETS, Repo, error_codes
from support.oci_content import Content, digest_of
from support.server import RunningServer, ServerFactory


@pytest.fixture
def admin(server: RunningServer) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def nobody(server: RunningServer) -> Iterator[httpx2.Client]:
    with server.anonymous() as client:
        yield client


def pushed(repo: Repo, data: bytes) -> str:
    digest = digest_of(data)
    assert repo.post_put(digest, data).status_code == 201
    return digest


def set_private(admin: httpx2.Client, name: str) -> None:
    assert admin.put(f"/api/v1/repos/oci/{name}", json={"public": False}).status_code == 204


def registry_token(client: httpx2.Client, *scopes: str) -> dict[str, str]:
    answer = client.get("/v2/token", params=[("service", "smidgen"), *(("scope", scope) for scope in scopes)])
    return {"Authorization": "Bearer " + answer.json()["token"]}


# Rights


def test_nobody_may_pull_but_not_push(admin: httpx2.Client, nobody: httpx2.Client) -> None:
    digest = pushed(Repo(admin, "a/b"), b"x")
    anonymous = Repo(nobody, "a/b")
    assert anonymous.get(f"blobs/{digest}").status_code == 200
    for response in (anonymous.begin(), anonymous.delete(f"blobs/{digest}"), anonymous.request("PUT", "manifests/v1")):
        assert response.status_code == 401
        assert error_codes(response) == ["UNAUTHORIZED"]
    challenge = anonymous.begin().headers["WWW-Authenticate"]
    assert re.match(
        r'Bearer realm="http://[^"]+/v2/token",service="smidgen",scope="repository:a/b:pull,push"', challenge
    )


def test_private_repository_is_not_shown(admin: httpx2.Client, nobody: httpx2.Client) -> None:
    content = Content()
    content.image()
    Repo(admin, "secret").push(content.tag("v1"))
    pushed(Repo(admin, "open"), b"x")
    set_private(admin, "secret")
    hidden = Repo(nobody, "secret")
    paths = ["tags/list", "manifests/v1", f"blobs/{next(iter(content.blobs))}", f"referrers/{digest_of(b'')}"]
    assert [hidden.get(path).status_code for path in paths] == [401] * 4
    assert nobody.get("/v2/_catalog").json() == {"repositories": ["open"]}
    assert admin.get("/v2/_catalog").json() == {"repositories": ["open", "secret"]}


def test_catalog_comes_in_pages(admin: httpx2.Client) -> None:
    names = [f"r{number}" for number in range(5)]
    for name in names:
        pushed(Repo(admin, name), b"x")
    first = admin.get("/v2/_catalog", params={"n": "2"})
    assert first.json() == {"repositories": names[:2]}
    found = re.fullmatch(r'<([^>]+)>; rel="next"', first.headers["Link"])
    assert found
    assert admin.get(found[1]).json() == {"repositories": names[2:4]}
    assert admin.get("/v2/_catalog", params={"n": "-1"}).status_code == 400


def test_mount_needs_the_right_to_read_the_source(admin: httpx2.Client, nobody: httpx2.Client) -> None:
    digest = pushed(Repo(admin, "secret"), b"not for you")
    set_private(admin, "secret")
    nobody.headers.update(registry_token(admin, "repository:mine:pull,push"))
    mine = Repo(nobody, "mine")
    assert mine.begin(mount=digest, **{"from": "secret"}).status_code == 202
    assert mine.begin(mount=digest).status_code == 202
    assert mine.head(f"blobs/{digest}").status_code == 404
    nobody.headers.update(registry_token(admin, "repository:mine:pull,push", "repository:secret:pull"))
    assert mine.begin(mount=digest, **{"from": "secret"}).status_code == 201


def test_push_right_is_not_a_delete_right(admin: httpx2.Client, nobody: httpx2.Client) -> None:
    nobody.headers.update(registry_token(admin, "repository:mine:pull,push"))
    mine = Repo(nobody, "mine")
    digest = pushed(mine, b"x")
    refused = mine.delete(f"blobs/{digest}")
    assert refused.status_code == 401
    assert 'scope="repository:mine:' in refused.headers["WWW-Authenticate"]


# Uploads


@pytest.fixture
def either(server_factory: ServerFactory, database_url: str) -> Iterator[httpx2.Client]:
    """On SQLite and on PostgreSQL: where several requests write at once, the databases differ most."""
    with server_factory(database=database_url).client() as client:
        yield client


def test_many_pushers_of_one_blob_all_succeed(either: httpx2.Client) -> None:
    admin, data = either, os.urandom(300_000)
    repos = [Repo(admin, f"r{number % 2}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda repo: repo.post_put(digest_of(data), data).status_code, repos))
    assert answers == [201] * 8
    assert all(repo.get(f"blobs/{digest_of(data)}").content == data for repo in repos[:2])


def test_many_pushers_of_one_tag_leave_one_of_theirs(either: httpx2.Client) -> None:
    repo, content = Repo(either, "r"), Content()
    documents = [content.image(layers=1) for _ in range(6)]
    repo.push_blobs(content)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda document: repo.put_manifest(document, "latest").status_code, documents))
    assert answers == [201] * 6
    assert repo.get("manifests/latest").content in [document.body for document in documents]
    assert repo.get("tags/list").json()["tags"] == ["latest"]


def test_images_with_common_layers_are_pushed_and_deleted_at_once(either: httpx2.Client) -> None:
    """Transactions that touch the same rows in different orders: none may fail or block for good."""
    repo, content = Repo(either, "r"), Content()
    layers = [content.layer()[0] for _ in range(6)]
    config = content.blob(b"{}", "application/vnd.oci.image.config.v1+json")
    documents = [content.manifest(config, layers[number:] + layers[:number]) for number in range(6)]
    repo.push_blobs(content)

    def push_and_delete(number: int) -> list[int]:
        document, codes = documents[number], list[int]()
        for _ in range(5):
            codes.append(repo.put_manifest(document, params={"tag": f"t{number}"}).status_code)
            codes.append(repo.delete(f"manifests/{document.digest}").status_code)
        return codes

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(push_and_delete, range(6))) == [[201, 202] * 5] * 6


def test_upload_survives_a_restart(server_factory: ServerFactory, tmp_path: Path) -> None:
    data = os.urandom(50_000)
    first = server_factory(tmp_path / "data")
    with first.client() as client:
        where = Repo(client, "r").location(Repo(client, "r").patch(_begun(client), data[:20_000], 0))
    second = server_factory(tmp_path / "data")
    with second.client() as client:
        repo = Repo(client, "r")
        state = client.get(where.path)
        assert state.headers["Range"] == "0-19999"
        response = repo.put(repo.location(state), digest_of(data), data[20_000:], 20_000)
        assert response.status_code == 201
        assert repo.get(f"blobs/{digest_of(data)}").content == data


def _begun(client: httpx2.Client) -> httpx2.URL:
    repo = Repo(client, "r")
    return repo.location(repo.begin())


def test_sender_that_goes_away_can_resume(server: RunningServer, admin: httpx2.Client) -> None:
    """Half of a PATCH arrives, then the connection is cut; what arrived is kept, nothing is shown."""
    data = os.urandom(3_000_000)
    repo, where = Repo(admin, "r"), _begun(admin)
    half_sent(server, where, data, 1_500_000)
    state = wait_for_offset(admin, where, 1_500_000)
    assert repo.head(f"blobs/{digest_of(data)}").status_code == 404
    assert repo.put(repo.location(state), digest_of(data), data[1_500_000:], 1_500_000).status_code == 201
    assert repo.get(f"blobs/{digest_of(data)}").content == data


def half_sent(server: RunningServer, where: httpx2.URL, data: bytes, length: int) -> None:
    host, _, port = server.host.partition(":")
    head = f"PATCH {where.path} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {server.token}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:length])


def wait_for_offset(client: httpx2.Client, where: httpx2.URL, offset: int) -> httpx2.Response:
    """The server reads what is in the socket before it sees that nobody is there any more."""
    for _ in range(10_000):
        state = client.get(where)
        if state.headers["Range"] == f"0-{offset - 1}":
            return state
    raise AssertionError(f"only {state.headers['Range']} arrived")


def test_second_writer_of_a_session_is_refused(server: RunningServer, admin: httpx2.Client) -> None:
    where = _begun(admin)
    upload = where.path.rpartition("/")[2]
    with server.services.uploads.append(upload) as writer:
        writer.write(b"first")
        assert Repo(admin, "r").patch(where, b"second").status_code == 409
    assert admin.get(where).headers["Range"] == "0-4"


def test_body_must_be_what_its_range_says(admin: httpx2.Client) -> None:
    repo, where = Repo(admin, "r"), _begun(admin)
    for given in ("0-99", "0-1"):
        response = admin.patch(where, content=b"12345", headers={**OCTETS, "Content-Range": given})
        assert response.status_code == 400
        where = _begun(admin)
    for given in ("x", "5-1", "bytes=0-4", "0-"):
        response = admin.patch(where, content=b"12345", headers={**OCTETS, "Content-Range": given})
        assert response.status_code == 400
        assert error_codes(response) == ["BLOB_UPLOAD_INVALID"]
    assert repo.client.patch(where, content=b"12345", headers={**OCTETS, "Content-Range": "bytes 0-4/5"}).is_success


def test_blob_over_the_limit_is_refused(server_factory: ServerFactory) -> None:
    server = server_factory(limits={"blob_bytes": 1 << 20})
    with server.client() as client:
        repo, data = Repo(client, "r"), bytes((1 << 20) + 1)
        assert repo.post_put(digest_of(data), data).status_code == 413
        assert repo.streamed(digest_of(data[1:]), data[1:]).status_code == 201
        where = _begun(client)
        assert repo.patch(where, data).status_code == 413


def test_a_session_belongs_to_the_repository_that_it_was_begun_for(admin: httpx2.Client) -> None:
    mine, where = Repo(admin, "r"), _begun(admin)
    data = b"some bytes"
    mine.patch(where, data)
    foreign, elsewhere = Repo(admin, "other/r"), where.copy_with(path=where.path.replace("/v2/r/", "/v2/other/r/"))
    for response in (
        admin.get(elsewhere),
        foreign.patch(elsewhere, b"more", len(data)),
        foreign.put(elsewhere, digest_of(data)),
        admin.delete(elsewhere),
    ):
        assert (response.status_code, error_codes(response)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert mine.put(where, digest_of(data)).status_code == 201
    assert foreign.head(f"blobs/{digest_of(data)}").status_code == 404


def test_session_ids_are_not_paths(admin: httpx2.Client) -> None:
    for upload in ("..", "%2e%2e", "0" * 31, "0" * 32, "0" * 48, "a/b"):
        assert admin.get(f"/v2/r/blobs/uploads/{upload}").status_code == 404


# Manifests


def test_tag_push_and_delete_are_announced(server: RunningServer, admin: httpx2.Client) -> None:
    heard: list[tuple[Any, ...]] = []
    server.services.events.on_tag_pushed.append(lambda *what: heard.append(what))
    server.services.events.on_tag_deleted.append(lambda *what: heard.append(what))
    repo, content = Repo(admin, "r"), Content()
    document = content.image()
    repo.push_blobs(content)
    digest = Digest.parse(document.digest)
    repo.put_manifest(document)
    assert heard == []
    repo.put_manifest(document, "v1")
    repo.put_manifest(document, params={"tag": "v2"})
    assert heard == [("r", "v1", digest), ("r", "v2", digest)]
    heard.clear()
    repo.delete("manifests/v1")
    repo.delete(f"manifests/{document.digest}")
    assert heard == [("r", "v1"), ("r", "v2")]


def test_manifest_that_is_known_need_not_be_sent_again(admin: httpx2.Client) -> None:
    repo, content = Repo(admin, "r"), Content()
    document = content.image()
    repo.push(content.tag("v1"))
    response = repo.get("manifests/v1")
    assert response.headers["ETag"] == f'"{document.digest}"'
    again = repo.get("manifests/v1", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert repo.get("manifests/v1", headers={"If-None-Match": '"sha256:other"'}).status_code == 200


def test_too_many_tags_at_once(admin: httpx2.Client) -> None:
    repo, content = Repo(admin, "r"), Content()
    document = content.image()
    repo.push_blobs(content)
    tags = [("tag", f"t{number}") for number in range(101)]
    assert repo.put_manifest(document, params=tags).status_code == 414
    assert repo.put_manifest(document, params=tags[:100]).status_code == 201
    assert repo.put_manifest(document, params={"tag": "bad tag"}).status_code == 400


def test_malformed_manifests_change_nothing(server: RunningServer, admin: httpx2.Client) -> None:
    repo = Repo(admin, "r")
    for body in (b"", b"{}", b"not json", b'{"schemaVersion": 1}'):
        response = repo.request("PUT", "manifests/v1", content=body)
        assert response.status_code == 400
        assert error_codes(response) == ["MANIFEST_INVALID"]
    assert list(server.services.blobs.digests()) == []
    assert repo.get("tags/list").status_code == 404


def test_sparse_index_where_it_is_allowed(server_factory: ServerFactory) -> None:
    content = Content()
    content.index([{"mediaType": Content().image().media_type, "digest": digest_of(b"elsewhere"), "size": 9}])
    with server_factory(oci={"sparse": True}).client() as client:
        Repo(client, "r").push(content)


def test_referrers_come_in_pages(server_factory: ServerFactory) -> None:
    content, subject = Content(), digest_of(b"subject")
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 7}
    for number in range(7):
        content.artifact(f"application/x{number % 2}", subject=descriptor)
    with server_factory(limits={"page": 3}).client() as client:
        repo = Repo(client, "r")
        repo.push(content)
        where, seen = f"/v2/r/referrers/{subject}?artifactType=application/x0", []
        while where:
            response = client.get(where)
            seen += [one["digest"] for one in response.json()["manifests"]]
            found = re.match(r"<([^>]+)>", response.headers.get("Link", ""))
            where = found[1] if found else ""
        expected = [one["digest"] for one in content.referrers[subject] if one["artifactType"] == "application/x0"]
        assert seen == sorted(expected)
        assert len(seen) == 4


# Garbage


def test_look_up_by_a_pusher_renews_the_mark(server: RunningServer, admin: httpx2.Client) -> None:
    digest = pushed(Repo(admin, "r"), b"layer")
    with server.services.index.session() as session:
        found = oci_blobs.oci.find_blob(session, "r", digest)
        assert found is not None
        oci_blobs.oci.link_blob(session, found.repo_id, found.blob_id, 1000)
    with server.anonymous() as client:
        assert Repo(client, "r").head(f"blobs/{digest}").status_code == 200
    assert oci_blobs.find(server.services, "r", Digest.parse(digest)).touched == 1000
    assert Repo(admin, "r").head(f"blobs/{digest}").status_code == 200
    assert oci_blobs.find(server.services, "r", Digest.parse(digest)).touched > 1_000_000_000


# Elsewhere


@pytest.mark.needs("postgres")
def test_registry_on_postgresql_and_a_bucket(server_factory: ServerFactory, postgres: str, s3: dict[str, Any]) -> None:
    content = Content()
    subject = content.platforms()
    content.artifact("application/x", subject=subject.descriptor())
    data = os.urandom(9_000_000)
    with server_factory(database=postgres, blobs=s3).client() as client:
        repo = Repo(client, "r")
        repo.push(content.tag("v1", subject))
        assert repo.chunked(digest_of(data), data, 3).status_code == 201
        assert repo.get(f"blobs/{digest_of(data)}", headers={"Range": "bytes=8999990-"}).content == data[-10:]
        assert repo.get("manifests/v1").content == subject.body
        assert len(repo.get(f"referrers/{subject.digest}").json()["manifests"]) == 1
        assert repo.delete(f"manifests/{subject.digest}").status_code == 202
        assert repo.get("manifests/v1").status_code == 404


def test_slow_sender_does_not_hold_a_thread(server_factory: ServerFactory) -> None:
    """More senders than threads, all of them waiting; others are still answered."""
    server = server_factory(limits={"threads": 4})
    ready, go = threading.Barrier(7, timeout=60), threading.Event()

    def body() -> Iterator[bytes]:
        yield b"x" * 1000
        ready.wait()
        go.wait(60)
        yield b"y"

    def send(_: int) -> int:
        with server.client() as client:
            return client.patch(_begun(client), content=body(), headers=OCTETS).status_code

    with ThreadPoolExecutor(6) as pool, server.client() as client:
        senders = [pool.submit(send, number) for number in range(6)]
        ready.wait()
        assert Repo(client, "r").post_put(digest_of(b"quick"), b"quick").status_code == 201
        go.set()
        assert [sender.result() for sender in senders] == [202] * 6
