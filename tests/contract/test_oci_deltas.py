"""tar-diffs in the registry: what appliers of oci-delta and flatpak find there, and when it goes again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from smidgen_server.index import deltas
from smidgen_server.services import collect
from smidgen_server.services.tasks import no_progress
from support.oci_client import Repo
from support.oci_content import INDEX, LAYER, Content, Document, digest_of, layer_tar
from support.oci_delta_applier import DELTA, Device, read_files
from support.oci_releases import POLICY, add_image, artifacts, config_of, push, settle, tars
from support.server import RunningServer, ServerFactory, run_server
from support.tardiff_reader import rebuild


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningServer]:
    with run_server(tmp_path / "data", deltas=POLICY) as server:
        yield server


@pytest.fixture
def client(site: RunningServer) -> Iterator[httpx2.Client]:
    with site.client() as client:
        yield client


@dataclass(frozen=True)
class Releases:
    """Three images of one layer, one after the other, in a repository."""

    repo: Repo
    images: list[Document]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    with run_server(tmp_path_factory.mktemp("releases"), deltas=POLICY) as site, site.client() as client:
        repo = Repo(client, "team/app")
        yield Releases(repo, [push(site, repo, version, 1) for version in range(3)])


@pytest.mark.parametrize("version", [0, 1])
def test_an_applier_updates_from_any_of_the_last_images(releases: Releases, version: int) -> None:
    assert [len(artifacts(releases.repo, one)) for one in releases.images] == [0, 1, 2]
    device = Device()
    device.install(config_of(releases.images[version]), tars(version, 1))
    made, fetched = device.update(releases.repo, releases.images[2].digest)
    assert made == tars(2, 1)
    assert fetched < 1000


def test_what_flatpak_reads(releases: Releases) -> None:
    """The index names each target once; a delta manifest has each pair of layers once."""
    repo, images = releases.repo, releases.images
    answer = repo.get("manifests/_deltaindex").raise_for_status()
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (INDEX, "no-cache")
    found = {one["annotations"][DELTA + "target"]: one for one in answer.json()["manifests"]}
    assert len(answer.json()["manifests"]) == 2 and set(found) == {one.digest for one in images[1:]}
    manifest = repo.get(f"manifests/{found[images[2].digest]['digest']}").raise_for_status().json()
    assert manifest["annotations"] == {DELTA + "target": images[2].digest}
    assert repo.get(f"blobs/{manifest['config']['digest']}").content == b"{}"
    old = {digest_of(*tars(version, 1)): read_files(*tars(version, 1)) for version in (0, 1)}
    assert sorted(one["annotations"][DELTA + "from"] for one in manifest["layers"]) == sorted(old)
    for layer in manifest["layers"]:
        data = repo.get(f"blobs/{layer['digest']}").raise_for_status()
        assert "immutable" in data.headers["cache-control"]
        assert layer["annotations"][DELTA + "to"] == digest_of(*tars(2, 1))
        assert rebuild(data.content, old[layer["annotations"][DELTA + "from"]]) == tars(2, 1)[0]


def test_stock_clients_see_no_difference(releases: Releases) -> None:
    assert releases.repo.get("tags/list").json()["tags"] == ["latest"]
    for document in releases.images:
        assert releases.repo.get(f"manifests/{document.digest}").content == document.body


def test_they_are_listed_like_other_deltas(releases: Releases) -> None:
    jobs = releases.repo.client.get("/api/v1/jobs").json()["jobs"]
    assert {(job["format"], job["state"]) for job in jobs} == {("tardiff", deltas.READY)}
    assert [job["target"] for job in jobs] == [releases.images[number].digest for number in (2, 2, 1)]
    assert all(job["size"] < job["full"] / 10 for job in jobs)


def test_of_several_layers_only_those_that_changed_travel(site: RunningServer, client: httpx2.Client) -> None:
    """And the image is not in flatpak's index, because flatpak would know the old one by its last layer alone."""
    repo = Repo(client, "app")
    first, second = push(site, repo, 0, 2), push(site, repo, 1, 2)
    device = Device()
    device.install(config_of(first), tars(0, 2))
    made, fetched = device.update(repo, second.digest)
    assert made == tars(1, 2)
    assert fetched < 1000
    assert repo.get("manifests/_deltaindex").status_code == 404


def test_deltas_go_with_the_image_and_come_back_with_it(server_factory: ServerFactory, database_url: str) -> None:
    site = server_factory(database=database_url, deltas=POLICY)
    with site.client() as client:
        repo = Repo(client, "app")
        push(site, repo, 0, 1)
        second = push(site, repo, 1, 1)
        (listed,) = artifacts(repo, second)
        delta = repo.get(f"manifests/{listed['digest']}").json()["layers"][-1]["digest"]
        assert repo.delete(f"manifests/{second.digest}").status_code == 202
        assert (artifacts(repo, second), repo.get("manifests/_deltaindex").status_code) == ([], 404)
        repo.put_manifest(second, "latest")
        assert artifacts(repo, second) == [listed]
        repo.delete(f"manifests/{second.digest}")
        collect.collect_all(site.services, grace=-10, keep=0, progress=no_progress)
        assert repo.get(f"blobs/{delta}").status_code == 404


def test_deltas_go_with_the_image_they_start_from(site: RunningServer, client: httpx2.Client) -> None:
    repo = Repo(client, "app")
    push(site, repo, 0, 1)
    second = push(site, repo, 1, 1)
    collect.collect_all(site.services, grace=-10, keep=0, progress=no_progress)
    assert (artifacts(repo, second), repo.get("manifests/_deltaindex").status_code) == ([], 404)


def test_an_index_that_was_pushed_stays(site: RunningServer, client: httpx2.Client) -> None:
    repo = Repo(client, "app")
    own = Content()
    document = own.index([])
    repo.push(own.tag("_deltaindex"))
    push(site, repo, 0, 1)
    assert len(artifacts(repo, push(site, repo, 1, 1))) == 1
    assert repo.get("manifests/_deltaindex").content == document.body
    assert repo.get("tags/list").json()["tags"] == ["_deltaindex", "latest"]


def test_a_layer_that_gains_nothing_travels_whole(site: RunningServer, client: httpx2.Client) -> None:
    repo = Repo(client, "app")
    first = push(site, repo, 0, 2)
    fresh = [layer_tar({"share/fresh": random.Random(9).randbytes(5000)}), *tars(1, 1)]
    content = Content()
    second = add_image(content, fresh, pack="+zstd")
    repo.push(content.tag("latest"))
    settle(site, repo)
    (listed,) = artifacts(repo, second)
    *_, whole, small = repo.get(f"manifests/{listed['digest']}").json()["layers"]
    assert (whole["mediaType"], small["mediaType"]) == (f"{LAYER}+zstd", "application/vnd.tar-diff")
    assert whole["digest"] == whole["annotations"][DELTA + "to"]
    device = Device()
    device.install(config_of(first), tars(0, 2))
    made, fetched = device.update(repo, second.digest)
    assert made == fresh
    assert 5000 < fetched < 7000


def test_each_platform_of_an_index_has_its_own(site: RunningServer, client: httpx2.Client) -> None:
    repo, platforms = Repo(client, "app"), ("amd64", "arm64")
    own = {name: number * 10 for number, name in enumerate(platforms)}
    pushed = []
    for version in range(2):
        content = Content()
        images = {name: add_image(content, tars(version + own[name], 1), name) for name in platforms}
        content.index([one.descriptor(platform={"os": "linux", "architecture": name}) for name, one in images.items()])
        repo.push(content.tag("latest"))
        settle(site, repo)
        pushed.append(images)
    for name in platforms:
        device = Device()
        device.install(config_of(pushed[0][name]), tars(own[name], 1))
        assert device.update(repo, pushed[1][name].digest)[0] == tars(1 + own[name], 1)
    targets = {one["annotations"][DELTA + "target"] for one in repo.get("manifests/_deltaindex").json()["manifests"]}
    assert targets == {one.digest for one in pushed[1].values()}


def test_images_with_nothing_in_common_get_no_delta(site: RunningServer, client: httpx2.Client) -> None:
    repo = Repo(client, "app")
    contents = [Content(), Content()]
    for content in contents:
        document = content.image(layers=1)
        repo.push(content.tag("latest", document))
        found = settle(site, repo)
    (row,) = found
    assert row.state == deltas.USELESS, row.reason
