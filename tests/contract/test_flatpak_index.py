"""/index/static answers what flatpak and its relatives ask: images by tag, platform, labels and annotations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from support.oci_client import Repo
from support.oci_content import Content, Json
from support.server import RunningServer, ServerFactory

NUMBERS = count()
LABELS = {"org.flatpak.ref": "app/org.example.A/x86_64/stable", "kind": "toy"}


def application(**more: Any) -> Content:
    content = Content()
    content.image(layers=1, config_extra={"config": {"Labels": LABELS}}, **more)
    return content.tag("latest")


def asked(server: RunningServer, repo: Repo, **conditions: str) -> list[Json]:
    """Results in a repository for somebody without a login."""
    conditions = {"repository": repo.name} | conditions
    with server.anonymous() as client:
        answer = client.get("/index/static", params=conditions).raise_for_status().json()
    assert answer["Registry"] == "/"
    found: list[Json] = answer["Results"]
    return found


@pytest.fixture
def repo(module_server: RunningServer) -> Iterator[Repo]:
    """Each test has one of its own."""
    with module_server.client() as client:
        yield Repo(client, f"apps/{next(NUMBERS)}")


def test_an_image_with_its_labels(module_server: RunningServer, repo: Repo) -> None:
    content = application(annotations={"note": "here"})
    repo.push(content)
    image = content.documents[-1]
    expected = {
        "Tags": ["latest"],
        "Digest": image.digest,
        "MediaType": image.media_type,
        "OS": "linux",
        "Architecture": "amd64",
        "Annotations": {"note": "here"},
        "Labels": LABELS,
    }
    assert asked(module_server, repo) == [{"Name": repo.name, "Images": [expected], "Lists": []}]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"label:org.flatpak.ref:exists": "1", "architecture": "amd64", "os": "linux", "tag": "latest"}, True),
        ({"label:kind": "toy", "kind": "ignored"}, True),
        ({"annotation:note:exists": "1"}, True),
        ({"label:other:exists": "1"}, False),
        ({"label:kind": "tool"}, False),
        ({"annotation:note": "there"}, False),
        ({"architecture": "arm64"}, False),
        ({"os": "windows"}, False),
        ({"tag": "other"}, False),
        ({"repository": "apps/b"}, False),
    ],
)
def test_conditions(module_server: RunningServer, repo: Repo, conditions: dict[str, str], found: bool) -> None:
    repo.push(application(annotations={"note": "here"}))
    assert [one["Name"] for one in asked(module_server, repo, **conditions)] == [repo.name] * found


def test_images_of_several_platforms_are_a_list(module_server: RunningServer, repo: Repo) -> None:
    content = Content()
    index = content.platforms()
    repo.push(content.tag("latest"))
    (result,) = asked(module_server, repo, architecture="arm64")
    ((listed,), images) = (result["Lists"], result["Images"])
    assert (listed["Digest"], listed["Tags"], images) == (index.digest, ["latest"], [])
    assert [(one["Architecture"], one["Tags"]) for one in listed["Images"]] == [("arm64", [])]


def test_artifacts_are_no_images(module_server: RunningServer, repo: Repo) -> None:
    content = Content()
    content.artifact("application/vnd.example")
    repo.push(content.tag("latest"))
    assert asked(module_server, repo) == []


def test_an_answer_that_is_still_good_is_not_sent_again(repo: Repo) -> None:
    repo.push(application())
    first = repo.client.get("/index/static")
    assert first.headers["cache-control"] == "no-cache"
    again = repo.client.get("/index/static", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    repo.push(application())
    assert repo.client.get("/index/static", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_only_what_the_asker_may_pull(server_factory: ServerFactory) -> None:
    server = server_factory(auth={"default_public": False})
    with server.client() as client:
        repo = Repo(client, "apps/a")
        repo.push(application())
        assert len(client.get("/index/static").json()["Results"]) == 1
        assert asked(server, repo) == []
