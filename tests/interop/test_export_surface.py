"""The exported surface behind a web server that knows nothing of it: our client and stock ostree update from it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest
from click.testing import CliRunner
from obstore.store import from_url

from smidgen_deltas.errors import NotFound
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.export_cli import export as command
from smidgen_server.index import repos
from smidgen_server.services import ingest_ostree
from smidgen_server.services.container import open_services
from smidgen_server.services.export import export
from smidgen_server.services.export_target import Folder
from smidgen_server.services.tasks import no_progress
from smidgen_server.settings import Settings
from support.device_trees import noise
from support.devices import Device
from support.ostree import ostree
from support.releases import release, settled
from support.s3 import start_s3
from support.server import RunningServer, run_server
from support.small_images import publish_files
from support.static_nginx import serve_folder

pytestmark = [pytest.mark.needs("ostree"), pytest.mark.needs("nginx")]


@dataclass
class Works:
    """A server, the repository that it is fed from, and where it exports to."""

    server: RunningServer
    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def publish(self, version: int) -> str:
        """Both worlds; the commit."""
        origin, services = self.folder / "origin", self.server.services
        if version == 1:
            ostree(origin, "init", "--mode=archive")
        tree = release(self.folder / f"tree{version}", version)
        commit = ostree(origin, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0").strip()
        ingest_ostree.publish(services, Repository.open(origin), "stable", "os", "stable", no_progress)
        files = {"usr/app": noise("app", 50_000) + b"%d" % version, f"usr/{version}": b"new"}
        publish_files(services, self.folder / "layouts", files, "app", "stable")
        settled(services)
        return commit

    def export(self, *words: str) -> dict[str, int]:
        return smidgen_export(self.server.services.settings.data, self.site, *words)


def smidgen_export(data: Path, target: object, *words: str) -> dict[str, int]:
    program = [sys.executable, "-m", "smidgen_client", "export"]
    done = subprocess.run(
        [*program, str(target), "--data", str(data), "--json", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    with run_server(tmp_path / "data", deltas={"formats": ["smidgen", "ostree"]}) as server:
        yield Works(server, tmp_path)


def test_devices_update_from_files(works: Works, tmp_path: Path) -> None:
    first = works.publish(1)
    before = works.export()
    assert before["written"] > 20 and before["kept"] == 0
    device, stock = Device(tmp_path / "device"), tmp_path / "stock"
    ostree(stock, "init", "--mode=bare-user")
    with serve_folder(works.site, tmp_path / "nginx") as url:
        device.pull(url, device.store("ostree"), mode="bare-user")
        device.pull(url, device.store("oci"), "oci/app:stable")
        ostree(stock, "remote", "add", "--no-gpg-verify", "origin", f"{url}/ostree/os")
        ostree(stock, "pull", "origin", "stable")
        assert ostree(stock, "rev-parse", "origin:stable").strip() == first
        assert works.export()["written"] == 0
        second = works.publish(2)
        after = works.export()
        assert after["written"] and after["kept"] >= before["written"] / 2
        done = device.pull(url, device.store("ostree"))
        assert done.delta is not None and done.delta.used
        device.pull(url, device.store("oci"), "oci/app:stable")
        assert device.pull(url, device.store("oci"), "oci/app:stable").unchanged
        ostree(stock, "pull", "--require-static-deltas", "origin", "stable")
        assert ostree(stock, "rev-parse", "origin:stable").strip() == second
        assert ostree(stock, "remote", "refs", "origin").split() == ["origin:stable"]
    for repo in (stock, device.folder / "repo"):
        ostree(repo, "fsck")
        assert ostree(repo, "ls", "-R", second)


def test_what_nothing_names_goes_only_when_wished(works: Works, tmp_path: Path) -> None:
    works.publish(1)
    works.export()
    (works.site / "index.html").write_text("not ours")
    works.publish(2)
    assert works.export()["removed"] == 0
    pruned = works.export("--prune")
    assert pruned["removed"] > 0 and pruned["written"] == 0
    assert (works.site / "index.html").exists()
    with serve_folder(works.site, tmp_path / "nginx") as url:
        device = Device(tmp_path / "device")
        device.pull(url, device.store("tree"))


def test_damaged_files_are_repaired_when_wished(works: Works, tmp_path: Path) -> None:
    works.publish(1)
    works.export()
    damaged = [next(works.site.glob(pattern)) for pattern in ("u/blobs/*", "ostree/os/objects/*/*.filez")]
    whole = [path.read_bytes() for path in damaged]
    for path, body in zip(damaged, whole, strict=True):
        path.write_bytes(bytes(len(body)))  # as a file system may leave it whose machine lost power
    assert works.export()["written"] == 0
    done = works.export("--verify")
    assert (done["written"], done["repaired"], done["bytes"]) == (2, 2, sum(map(len, whole)))
    assert [path.read_bytes() for path in damaged] == whole
    assert works.export("--verify")["written"] == 0


def test_private_repositories_stay_private(works: Works) -> None:
    works.publish(1)
    with works.server.services.index.session() as session:
        repos.set_public(session, "oci", "app", public=False)
    works.export()
    assert not list(works.site.glob("u/refs/oci/*"))
    works.export("--repo", "oci/app")
    assert [path.name for path in works.site.glob("u/refs/oci/*")] == ["app:stable.json"]
    with pytest.raises(NotFound):
        export(works.server.services, Folder(works.site), ["oci/other"])


class Stopping(Folder):
    """A folder that fails from one file on."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self._left = after

    def put(self, name: str, blocks: Iterable[bytes], *, immutable: bool) -> None:
        if self._left == 0:
            raise RuntimeError("stopped")
        self._left -= 1
        super().put(name, blocks, immutable=immutable)


def test_stopped_anywhere_devices_get_one_release_or_the_other(works: Works, tmp_path: Path) -> None:
    commits = {works.publish(1)}
    works.export()
    commits.add(works.publish(2))
    services = works.server.services
    seen = set()
    with serve_folder(works.site, tmp_path / "nginx") as url:
        for number in range(200):
            try:
                export(services, Stopping(works.site, number % 3))
            except RuntimeError:
                ended = False
            else:
                ended = True
            device, stock = Device(tmp_path / f"device{number}"), tmp_path / f"stock{number}"
            done = device.pull(url, device.store("ostree"), mode="bare-user")
            ostree(stock, "init", "--mode=bare-user")
            ostree(stock, "remote", "add", "--no-gpg-verify", "origin", f"{url}/ostree/os")
            ostree(stock, "pull", "origin", "stable")
            found = {str(done.revision).removeprefix("sha256:"), ostree(stock, "rev-parse", "origin:stable").strip()}
            assert found <= commits
            seen |= found
            if ended:
                break
        else:
            raise AssertionError("the export did not end")
    assert seen == commits


class Publishing(Folder):
    """A folder in whose first file somebody publishes."""

    def __init__(self, works: Works) -> None:
        super().__init__(works.site)
        self._works = works
        self.commit = ""

    def put(self, name: str, blocks: Iterable[bytes], *, immutable: bool) -> None:
        if not self.commit:
            self.commit = self._works.publish(2)
        super().put(name, blocks, immutable=immutable)


def test_what_is_published_meanwhile_waits_for_the_next_export(works: Works, tmp_path: Path) -> None:
    first = works.publish(1)
    target = Publishing(works)
    export(works.server.services, target, prune=True)
    with serve_folder(works.site, tmp_path / "nginx") as url:
        for number, commit in enumerate((first, target.commit)):
            device, stock = Device(tmp_path / f"device{number}"), tmp_path / f"stock{number}"
            done = device.pull(url, device.store("ostree"), mode="bare-user")
            assert str(done.revision) == f"sha256:{commit}"
            ostree(stock, "init", "--mode=bare-user")
            ostree(stock, "remote", "add", "--no-gpg-verify", "origin", f"{url}/ostree/os")
            ostree(stock, "pull", "origin", "stable")
            assert ostree(stock, "rev-parse", "origin:stable").strip() == commit
            ostree(stock, "fsck")
            works.export("--prune")


def test_a_bucket_says_how_long_its_objects_may_be_kept(works: Works, tmp_path: Path) -> None:
    works.publish(1)
    data = works.server.services.settings.data
    with start_s3() as s3:
        bucket: dict[str, Any] = s3.bucket()
        words = [word for key, value in bucket["options"].items() for word in ("--option", f"{key}={value}")]
        first = smidgen_export(data, bucket["url"], *words)
        assert smidgen_export(data, bucket["url"], *words)["written"] == 0
        options = {key: value for key, value in bucket["options"].items() if key != "allow_http"}
        store = from_url(bucket["url"], config=options, client_options={"allow_http": True})
        names = [one["path"] for page in obstore.list(store) for one in page]
        assert len(names) == first["written"]
        damaged = next(name for name in names if name.endswith(".filez"))
        size = len(bytes(obstore.get(store, damaged).bytes()))
        obstore.put(store, damaged, bytes(size))
        assert smidgen_export(data, bucket["url"], "--verify", *words)["repaired"] == 1
        (document,) = [name for name in names if name.startswith("u/refs/ostree/")]
        blob = next(name for name in names if name.startswith("u/blobs/"))
        kept = {name: obstore.get(store, name).attributes["Cache-Control"] for name in (document, blob)}
        assert "immutable" in kept[blob] and "must-revalidate" in kept[document]
        works.export()
        assert bytes(obstore.get(store, blob).bytes()) == (works.site / blob).read_bytes()


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open_services(Settings(data=tmp_path / "data")):
        pass
    wrong: tuple[tuple[list[str], str, int], ...] = (
        (["site"], "none", 30),
        (["file"], "data", 2),
        (["site", "--option", "key"], "data", 2),
        (["site", "--repo", "oci/none"], "data", 30),
    )
    for words, data, status in wrong:
        done = CliRunner().invoke(command, [str(tmp_path / words[0]), *words[1:], "--data", str(tmp_path / data)])
        assert done.exit_code == status and done.output.startswith("smidgen: "), done.output
