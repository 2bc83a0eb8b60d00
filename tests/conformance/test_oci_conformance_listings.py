"""What answers before anything was pushed, listings in pages, names, and errors in the shape that clients read."""

from __future__ import annotations

import re

import httpx2
import pytest

from support.oci_client import Repo, error_codes
from support.oci_content import Content

TAGS = ["1.0", "1.10", "1.2", "A", "Z", "_x", "a", "b-1", "b.1", "z"]


def test_ping(registry: httpx2.Client) -> None:
    for method in ("GET", "HEAD"):
        assert registry.request(method, "/v2/").status_code == 200


def test_unknown_repository(repo: Repo) -> None:
    assert repo.get("tags/list").status_code in (200, 404)
    assert repo.get("manifests/latest").status_code == 404
    assert repo.delete("manifests/latest").status_code == 404


@pytest.fixture
def tagged(repo: Repo) -> Repo:
    content = Content()
    document = content.image(layers=1)
    repo.push(content)
    for tag in TAGS:
        assert repo.put_manifest(document, tag).status_code == 201
    return repo


def test_tags_are_sorted(tagged: Repo) -> None:
    assert tagged.get("tags/list").json()["tags"] == sorted(TAGS)


@pytest.mark.parametrize("n", [1, 3, 9, 10, 11])
def test_tags_in_pages(tagged: Repo, n: int) -> None:
    seen: list[str] = []
    where = httpx2.URL(tagged.client.base_url.join(tagged.path("tags/list"))).copy_add_param("n", str(n))
    while True:
        response = tagged.client.get(where)
        tags = response.json()["tags"]
        seen += tags
        if "Link" not in response.headers:
            break
        assert len(tags) == n
        found = re.fullmatch(r'<([^>]+)>; *rel="?next"?', response.headers["Link"])
        assert found
        where = response.request.url.join(found[1])
    assert seen == sorted(TAGS)


def test_tags_after_one(tagged: Repo) -> None:
    for last in ("", "1.10", "Z", "b", "z", "~"):
        expected = [tag for tag in sorted(TAGS) if tag > last]
        assert tagged.get("tags/list", params={"last": last}).json()["tags"] == expected
        assert tagged.get("tags/list", params={"last": last, "n": "2"}).json()["tags"] == expected[:2]


def test_no_tags_were_asked_for(tagged: Repo) -> None:
    response = tagged.get("tags/list", params={"n": "0"})
    assert response.status_code == 200
    assert response.json()["tags"] == []
    assert "Link" not in response.headers


@pytest.mark.parametrize("name", ["Upper/case", "bad..name", "a/", "-a", "a__/b", "ü", "a" * 256, "a/b/../c"])
def test_illegal_names(registry: httpx2.Client, name: str) -> None:
    path = name.replace("..", "%2E%2E")
    for rest in ("tags/list", "manifests/latest", "blobs/uploads/"):
        response = registry.request("POST" if rest.endswith("/") else "GET", f"/v2/{path}/{rest}")
        assert response.status_code in (400, 404)
        assert error_codes(response)[0] in ("NAME_INVALID", "NAME_UNKNOWN")


def test_names_may_look_like_endpoints(registry: httpx2.Client, repo: Repo) -> None:
    for part in ("blobs", "manifests/tags", "tags/list", "blobs/uploads", "referrers"):
        odd = Repo(registry, f"{repo.name}/{part}")
        content = Content()
        content.image(layers=1)
        odd.push(content.tag("v1"))
        assert odd.get("tags/list").json() == {"name": odd.name, "tags": ["v1"]}


def test_unknown_ways_in_have_the_shape_of_errors(repo: Repo) -> None:
    for method, rest in (
        ("GET", "nothing"),
        ("GET", "blobs/uploads/"),
        ("PATCH", "tags/list"),
        ("POST", "manifests/a"),
    ):
        response = repo.request(method, rest)
        assert response.status_code in (404, 405)
        assert error_codes(response)
    assert repo.request("PATCH", "tags/list").status_code == 405


def test_namespace_parameter_does_not_disturb(tagged: Repo) -> None:
    """distribution-spec, "Registry Proxying": containerd sends it to mirrors."""
    assert tagged.get("manifests/A", params={"ns": "docker.io"}).status_code == 200
