"""Small parts of serving ostree: conditional requests, the cache, spans of blobs, names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from smidgen_deltas.digest import Digest
from smidgen_server.api.conditional import http_date, not_modified_since
from smidgen_server.blobs.local import LocalStore
from smidgen_server.blobs.spans import MAX_OPEN, MAX_SPAN, SmallSpans
from smidgen_server.services.cache import BoundedCache
from smidgen_server.services.refs import RefName, RefUnknown
from smidgen_server.services.repo_names import RepoNameInvalid, check_repo
from smidgen_server.services.surface_read import parse_ref_path

MODIFIED = 1_795_400_473  # Mon, 23 Nov 2026 02:21:13


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Mon, 23 Nov 2026 02:21:13 UTC", True),
        ("Mon, 23 Nov 2026 02:21:13 GMT", True),
        ("Mon, 23 Nov 2026 02:21:14 UTC", True),
        ("Mon, 23 Nov 2026 02:21:12 UTC", False),
        ("Mon, 23 Nov 2026 02:21:12 GMT", False),
        ("yesterday", False),
        ("", False),
    ],
)
def test_if_modified_since_as_stock_ostree_sends_it(given: str, expected: bool) -> None:
    assert not_modified_since(Headers({"if-modified-since": given}), MODIFIED) is expected
    both = Headers({"if-modified-since": given, "if-none-match": '"other"'})
    assert not not_modified_since(both, MODIFIED), "the entity tag counts"


def test_http_date_is_what_clients_read() -> None:
    assert http_date(MODIFIED) == "Mon, 23 Nov 2026 02:21:13 GMT"
    assert not not_modified_since(Headers({}), MODIFIED)


def test_cache_keeps_its_bounds() -> None:
    now = 0.0
    cache: BoundedCache[int, str] = BoundedCache(100, 10.0, lambda: now)
    for key in range(20):
        cache.put(key, str(key), 10)
    assert cache.cost == 100 and cache.get(9) is None and cache.get(10) == "10"
    cache.put(20, "new", 10)
    assert cache.get(10) == "10" and cache.get(11) is None, "what was used last stays"
    cache.put(21, "too large", 26)
    assert cache.get(21) is None
    cache.put(20, "again", 5)
    assert cache.get(20) == "again" and cache.cost == 95
    cache.forget(20)
    assert cache.get(20) is None
    now = 11.0
    assert cache.get(10) is None


def test_small_spans_of_blobs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    spans = SmallSpans(store)
    bodies = [os.urandom(MAX_SPAN + 100) for _ in range(MAX_OPEN + 5)]
    digests = []
    for body in bodies:
        with store.writer() as writer:
            writer.write(body)
            digests.append(writer.finish()[0])
    for digest, body in zip(digests, bodies, strict=True):
        assert spans.read(digest, 50, 100) == body[50:150]
        assert spans.read(digest, 0, MAX_SPAN + 1) is None
        assert spans.read(digest, MAX_SPAN, 200) is None, "beyond the end"
    assert spans.read(Digest.of(b"nothing"), 0, 1) is None
    assert len(list(Path("/proc/self/fd").iterdir())) < MAX_OPEN + 100
    spans.close()


@pytest.mark.parametrize("name", ["debian", "os-1.2_x", "A", "9"])
def test_good_repository_names(name: str) -> None:
    assert check_repo(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "x" * 200, "a\n", "ä"])
def test_bad_repository_names(name: str) -> None:
    with pytest.raises(RepoNameInvalid):
        check_repo(name)


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("ostree", "os/a/b.json", RefName("ostree", "os", "a/b")),
        ("ostree", "os/a.json.json", RefName("ostree", "os", "a.json")),
        ("oci", "team/app:v1.0.json", RefName("oci", "team/app", "v1.0")),
    ],
)
def test_paths_of_ref_documents(kind: str, path: str, name: RefName) -> None:
    assert parse_ref_path(kind, path) == name


@pytest.mark.parametrize(
    ("kind", "path"),
    [("ostree", "os.json"), ("ostree", "os/a"), ("oci", "app.json"), ("x", "a/b.json"), ("oci", ":v.json")],
)
def test_bad_paths_of_ref_documents(kind: str, path: str) -> None:
    with pytest.raises(RefUnknown):
        parse_ref_path(kind, path)
