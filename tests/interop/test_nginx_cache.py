"""nginx with our sample configuration as a cache of the update surface: what is immutable is fetched once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from smidgen_benchmarks import nginx, trees
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.device_trees import noise
from support.devices import Device
from support.server import RunningServer, run_server
from support.surface import fetch_document

pytestmark = pytest.mark.needs("nginx")
SLICE = 1 << 20  # as in the sample
BIG = noise("a file of several slices", 5 * SLICE + 12345)
ACCEL = {"accel_prefix": "/_smidgen/", "trusted_proxies": "127.0.0.1"}
REF = "ostree/os/stable"


@dataclass(frozen=True, slots=True)
class Scene:
    front: nginx.Front
    server: RunningServer

    @property
    def pack(self) -> tuple[str, bytes]:
        """Path and body of the large pack, read past HTTP."""
        with self.server.anonymous() as client:
            stored = [
                one for one in (self.server.settings.blob_dir / "sha256").glob("*/*") if one.stat().st_size > SLICE
            ]
            (pack,) = (one for one in stored if client.head(f"/u/blobs/{one.name}").is_success)
            return f"/u/blobs/{pack.name}", pack.read_bytes()

    def asked_of_origin(self) -> list[nginx.Answered]:
        """What nginx asked for blobs, all in all: it is stopped."""
        self.front.stop()
        return [one for one in self.front.answered() if one.at_origin and one.path.startswith("/u/blobs/")]


BOTH = pytest.mark.parametrize("scene", [ACCEL, {}], ids=["accel", "plain"], indirect=True)


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with run_server(tmp_path / "data", **getattr(request, "param", ACCEL)) as server:
        publish(server, tmp_path / "tree")
        with nginx.start_nginx(tmp_path / "front", server.host, tmp_path / "data") as front:
            yield Scene(front, server)


def publish(server: RunningServer, tree: Path) -> None:
    (tree / "usr").mkdir(parents=True)
    (tree / "usr/big").write_bytes(BIG)
    (tree / "usr/small").write_text("small")
    repo = tree.with_name("origin")
    trees.commit_folder(tree, repo, "stable", "one release")
    ingest_ostree.publish(server.services, Repository.open(repo), "stable", "os", "stable", no_progress)


@BOTH
def test_further_devices_cost_the_origin_nothing(scene: Scene, tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        device = Device(tmp_path / name)
        result = device.pull(scene.front.url, device.store("ostree"), mode="bare-user-only")
        assert result.contents_fetched == 2
        assert device.run("verify", device.store("ostree"))["ok"]
    asked = Counter((one.path, one.range) for one in scene.asked_of_origin())
    assert asked
    assert set(asked.values()) == {1}
    whole = sum(one.bytes_sent for one in scene.front.answered() if not one.at_origin)
    origin = sum(one.bytes_sent for one in scene.front.answered() if one.at_origin)
    assert origin < whole / 3 + SLICE


@BOTH
def test_a_range_costs_the_origin_its_slices_only(scene: Scene) -> None:
    path, body = scene.pack
    first, last = 2 * SLICE + 5, 3 * SLICE + 5
    with httpx2.Client(base_url=scene.front.url) as client:
        for wanted in ("MISS", "HIT"):
            got = client.get(path, headers={"Range": f"bytes={first}-{last}"})
            assert (got.status_code, got.content) == (206, body[first : last + 1])
            assert got.headers["content-range"] == f"bytes {first}-{last}/{len(body)}"
            assert got.headers["x-cache-status"] == wanted
    asked = [one.range for one in scene.asked_of_origin()]
    assert asked == [f"bytes={at * SLICE}-{(at + 1) * SLICE - 1}" for at in (2, 3)]


def test_the_origin_sends_blobs_without_the_server(scene: Scene) -> None:
    path, body = scene.pack
    before = scene.server.sent_bytes()
    assert httpx2.get(scene.front.url + path).content == body
    assert scene.server.sent_bytes() - before < 10_000
    assert sum(one.bytes_sent for one in scene.asked_of_origin()) > len(body)


@BOTH
@pytest.mark.parametrize("warm", [False, True])
def test_every_form_of_request_has_the_right_bytes(scene: Scene, warm: bool) -> None:
    path, body = scene.pack
    digest = hashlib.sha256(body).hexdigest()
    with httpx2.Client(base_url=scene.front.url) as client:
        if warm:
            assert client.get(path).content == body
        end = len(body)
        for value, first, last in (
            ("bytes=-500", end - 500, end),
            (f"bytes={SLICE - 1}-{SLICE}", SLICE - 1, SLICE + 1),
            (f"bytes={end - 1}-{end + 99}", end - 1, end),
            ("bytes=0-", 0, end),
        ):
            got = client.get(path, headers={"Range": value})
            assert (got.status_code, got.content) == (206, body[first:last]), value
        assert client.get(path, headers={"Range": f"bytes={end}-"}).status_code == 416
        whole = client.get(path)
        assert (whole.status_code, whole.content) == (200, body)
        assert whole.headers["etag"] == f'"sha256:{digest}"'
        assert "immutable" in whole.headers["cache-control"]
        assert client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
        assert client.head(path).headers["content-length"] == str(end)


def test_nothing_varies(scene: Scene) -> None:
    """What a client says it accepts neither changes an answer nor splits the cache."""
    path, body = scene.pack
    with httpx2.Client(base_url=scene.front.url) as client:
        for accepted in ("identity", "gzip, br", "zstd"):
            for asked in (path, f"/u/refs/{REF}.json", "/u/keys.json"):
                got = client.get(asked, headers={"Accept-Encoding": accepted, "Accept": f"text/{accepted[:4]}"})
                assert got.is_success
                assert "vary" not in got.headers
                assert "content-encoding" not in got.headers
            assert client.get(path).content == body
        assert fetch_document(client, REF).version == 1
    counted = Counter((one.path, one.range) for one in scene.asked_of_origin())
    assert set(counted.values()) == {1}


def test_credentials_are_not_shared(scene: Scene) -> None:
    """What was sent to somebody with a token is not kept for others."""
    path, body = scene.pack
    with scene.server.client() as admin:
        admin.put("/api/v1/repos/ostree/os", json={"public": False}).raise_for_status()
    with httpx2.Client(base_url=scene.front.url) as client:
        for asked in (path, f"/u/refs/{REF}.json"):
            assert client.get(asked).status_code in (401, 404)
            assert client.get(asked, headers=scene.server.auth).is_success
            assert client.get(asked).status_code in (401, 404)
        assert client.get(path, headers=scene.server.auth).content == body


def test_an_unchanged_document_is_revalidated(scene: Scene) -> None:
    asked = f"/u/refs/{REF}.json"
    with httpx2.Client(base_url=scene.front.url) as client:
        first = client.get(asked)
        again = client.get(asked, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-cache-status"] == "HIT"
    assert "max-age=30" in first.headers["cache-control"]


def test_objects_for_stock_ostree_are_kept(scene: Scene) -> None:
    with httpx2.Client(base_url=scene.front.url) as client:
        commit = fetch_document(client, REF).revision.hex
        path = f"/ostree/os/objects/{commit[:2]}/{commit[2:]}.commit"
        assert [client.get(path).headers["x-cache-status"] for _ in range(2)] == ["MISS", "HIT"]
        summary = client.get("/ostree/os/summary")
        assert summary.is_success
        assert "x-cache-status" not in summary.headers
