"""Blobs, every way to push them, with both digest algorithms; ranges; removal that shows at once."""

from __future__ import annotations

import os
from collections.abc import Callable

import httpx2
import pytest

from support.oci_client import OCTETS, Repo, Stream, error_codes
from support.oci_content import digest_of

Push = Callable[[Repo, str, bytes], httpx2.Response]
WAYS: dict[str, Push] = {
    "post only": Repo.post_only,
    "post and put": Repo.post_put,
    "one chunk": Repo.chunked,
    "three chunks": lambda repo, digest, data: repo.chunked(digest, data, 3),
    "three chunks, the last in the put": lambda repo, digest, data: repo.chunked(digest, data, 3, last_in_put=True),
    "stream": Repo.streamed,
}
ways = pytest.mark.parametrize("push", WAYS.values(), ids=WAYS)


def check_shown(repo: Repo, digest: str, data: bytes) -> None:
    for method in ("HEAD", "GET"):
        response = repo.request(method, f"blobs/{digest}", headers={"Accept-Encoding": "identity"})
        assert response.status_code == 200
        assert response.headers["Content-Length"] == str(len(data))
        assert response.headers["Docker-Content-Digest"] == digest
        assert response.content == (data if method == "GET" else b"")


def check_gone_after_delete(repo: Repo, digest: str) -> None:
    assert repo.delete(f"blobs/{digest}").status_code == 202
    assert repo.head(f"blobs/{digest}").status_code == 404
    assert repo.get(f"blobs/{digest}").status_code == 404
    assert repo.delete(f"blobs/{digest}").status_code == 404


def test_missing_blob_is_unknown(repo: Repo, algorithm: str) -> None:
    response = repo.get(f"blobs/{digest_of(os.urandom(9), algorithm)}")
    assert response.status_code == 404
    assert error_codes(response)[0] in ("BLOB_UNKNOWN", "NAME_UNKNOWN")


@ways
def test_pushed_blob_is_shown_until_it_is_deleted(repo: Repo, algorithm: str, push: Push) -> None:
    data = os.urandom(3001)
    digest = digest_of(data, algorithm)
    response = push(repo, digest, data)
    assert response.status_code == 201, response.text
    assert repo.client.get(repo.location(response)).content == data
    check_shown(repo, digest, data)
    check_gone_after_delete(repo, digest)


@ways
def test_wrong_digest_is_refused(repo: Repo, algorithm: str, push: Push) -> None:
    data = os.urandom(3001)
    response = push(repo, digest_of(data + b"oh no", algorithm), data)
    assert response.status_code == 400
    assert error_codes(response) == ["DIGEST_INVALID"]
    assert repo.head(f"blobs/{digest_of(data, algorithm)}").status_code == 404


EMPTY_WAYS = ("post only", "post and put", "stream")  # a Content-Range cannot name an empty chunk
WELL_KNOWN = {(way, b"") for way in EMPTY_WAYS} | {(way, b"{}") for way in WAYS}


@pytest.mark.parametrize(("way", "data"), sorted(WELL_KNOWN))
def test_well_known_blobs(repo: Repo, algorithm: str, way: str, data: bytes) -> None:
    digest, push = digest_of(data, algorithm), WAYS[way]
    assert push(repo, digest, data).status_code == 201
    check_shown(repo, digest, data)
    check_gone_after_delete(repo, digest)


def test_session_may_be_told_the_algorithm(repo: Repo) -> None:
    data = os.urandom(1000)
    where = repo.location(repo.begin(**{"digest-algorithm": "sha512"}))
    assert repo.put(where, digest_of(data, "sha512"), data).status_code == 201
    assert repo.begin(**{"digest-algorithm": "md5"}).status_code == 400


def test_closing_put_needs_no_length(repo: Repo) -> None:
    data = os.urandom(1000)
    where = repo.location(repo.patch(repo.location(repo.begin()), data))
    response = repo.client.put(where.copy_add_param("digest", digest_of(data)), content=Stream(b""))
    assert response.status_code == 201


@pytest.mark.parametrize("in_put", [False, True], ids=["patch", "put"])
def test_out_of_order_chunk_is_refused_and_resumed(repo: Repo, algorithm: str, in_put: bool) -> None:
    data = os.urandom(3000)
    digest = digest_of(data, algorithm)
    where = repo.location(repo.patch(repo.location(repo.begin()), data[:1000], 0))
    wrong = repo.put(where, digest, data[2000:], 2000) if in_put else repo.patch(where, data[2000:], 2000)
    assert wrong.status_code == 416
    state = repo.client.get(where)
    assert state.status_code == 204
    assert state.headers["Range"] == "0-999"
    where = repo.location(state)
    where = repo.location(repo.patch(where, data[1000:2000], 1000))
    if in_put:
        response = repo.put(where, digest, data[2000:], 2000)
    else:
        response = repo.put(repo.location(repo.patch(where, data[2000:], 2000)), digest)
    assert response.status_code == 201
    check_shown(repo, digest, data)


def test_repeated_chunk_is_out_of_order(repo: Repo) -> None:
    where = repo.location(repo.patch(repo.location(repo.begin()), b"a" * 1000, 0))
    assert repo.patch(where, b"a" * 1000, 0).status_code == 416


def test_cancelled_session_is_gone(repo: Repo) -> None:
    where = repo.location(repo.patch(repo.location(repo.begin()), b"some"))
    assert repo.client.delete(where).status_code == 204
    for response in (repo.client.get(where), repo.client.delete(where), repo.patch(where, b"more")):
        assert response.status_code == 404
    assert error_codes(repo.client.get(where)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_mount_shows_the_blob_in_both_until_each_deletes_it(repo: Repo, other: Repo, algorithm: str) -> None:
    data = os.urandom(700)
    digest = digest_of(data, algorithm)
    assert other.post_put(digest, data).status_code == 201
    response = repo.begin(mount=digest, **{"from": other.name})
    assert response.status_code == 201
    assert repo.client.get(repo.location(response)).content == data
    check_shown(repo, digest, data)
    check_gone_after_delete(repo, digest)
    check_shown(other, digest, data)
    check_gone_after_delete(other, digest)


def test_anonymous_mount(repo: Repo, other: Repo, algorithm: str) -> None:
    data = os.urandom(700)
    digest = digest_of(data, algorithm)
    assert other.post_put(digest, data).status_code == 201
    assert repo.begin(mount=digest).status_code == 201
    check_shown(repo, digest, data)


def test_mount_of_a_missing_blob_begins_a_session(repo: Repo, other: Repo, algorithm: str) -> None:
    data = os.urandom(700)
    digest = digest_of(data, algorithm)
    response = repo.begin(mount=digest, **{"from": other.name})
    assert response.status_code == 202
    assert repo.put(repo.location(response), digest, data).status_code == 201
    check_shown(repo, digest, data)


SIZE = 2048
RANGES = {"500-1499": (500, 1499), "500-": (500, 2047), "-500": (1548, 2047), "2000-5000": (2000, 2047)}


@pytest.mark.parametrize("text", RANGES)
def test_range(repo: Repo, algorithm: str, text: str) -> None:
    data = os.urandom(SIZE)
    digest = digest_of(data, algorithm)
    assert repo.post_put(digest, data).status_code == 201
    response = repo.get(f"blobs/{digest}", headers={"Range": f"bytes={text}"})
    first, last = RANGES[text]
    assert response.status_code == 206
    assert response.content == data[first : last + 1]
    assert response.headers["Content-Length"] == str(last + 1 - first)
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"


@pytest.mark.parametrize("text", ["500-0", "5000-10000"])
def test_unsatisfiable_range(repo: Repo, text: str) -> None:
    data = os.urandom(SIZE)
    digest = digest_of(data)
    assert repo.post_put(digest, data).status_code == 201
    assert repo.get(f"blobs/{digest}", headers={"Range": f"bytes={text}"}).status_code == 416


def test_digests_are_checked_before_anything_is_sent(repo: Repo) -> None:
    for digest in ("sha256:baddigeststring", "md5:" + "0" * 32, "sha256:" + "A" * 64, "nothing"):
        assert repo.post_only(digest, b"x").status_code == 400
        assert repo.put(repo.location(repo.begin()), digest, b"x").status_code == 400
    assert repo.client.put(repo.location(repo.begin()), content=b"x", headers=OCTETS).status_code == 400
