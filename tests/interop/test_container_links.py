"""One publish for both worlds: a commit becomes an image by itself, a pushed image a commit."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from smidgen_client.cli import run
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index.tasks import TaskRow
from smidgen_server.services import commit_images, ingest_ostree
from smidgen_server.services.commit_image_queue import EXPORT, IMPORT
from smidgen_server.services.container import open_services
from smidgen_server.services.tasks import no_progress
from smidgen_server.settings import Settings
from support.ostree import REF, SECOND, ostree, unpack_archive_repo
from support.server import RunningServer, ServerFactory
from support.small_images import publish_files

pytestmark = pytest.mark.needs("ostree", "skopeo")
LINK = {"repo": "os", "ref": REF, "image": "os-image", "tag": "stable", "chunks": 2}


def ended(server: RunningServer, kind: str) -> TaskRow:
    """The only task of a kind, once it has ended."""
    tasks, end, pause = server.services.tasks, time.monotonic() + 120, threading.Event()
    while not (found := [one for one in tasks.listing((), None, 50) if one.kind == kind]):
        assert time.monotonic() < end, f"no task {kind}"
        pause.wait(0.05)
    (task,) = found
    return tasks.wait(task.id, 120)


def copied(server: RunningServer, folder: Path) -> Path:
    source = f"docker://{server.url.removeprefix('http://')}/os-image:stable"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{folder}:stable"], check=True)
    return folder


def test_a_commit_is_an_image_too(server_factory: ServerFactory, tmp_path: Path) -> None:
    """What skopeo gets is the image that the export command makes, and holds the commit that stock ostree pulls."""
    server = server_factory(ostree={"images": [LINK]}, default_ostree_repo="os")
    repo = unpack_archive_repo(tmp_path)
    ingest_ostree.publish(server.services, Repository.open(repo), REF, "os", REF, no_progress)
    assert ended(server, EXPORT).error is None
    layout = copied(server, tmp_path / "copied")
    exported = tmp_path / "exported"
    export = ["container", "export", f"ostree:{repo}@{REF}", f"oci:{exported}:stable", "--chunks", "2"]
    assert run([*export, "--arch", "amd64"]) == 0
    assert Layout.open(layout).resolve("stable").digest == Layout.open(exported).resolve("stable").digest
    assert run(["container", "import", f"oci:{layout}:stable", f"ostree:{tmp_path / 'imported'}"]) == 0
    assert Repository.open(tmp_path / "imported").resolve("stable") == SECOND
    pulled = tmp_path / "pulled"
    ostree(pulled, "init", "--mode=archive")
    ostree(pulled, "remote", "add", "--no-gpg-verify", "origin", f"{server.url}/repo")
    ostree(pulled, "pull", "origin", REF)
    assert Repository.open(pulled).resolve(f"origin:{REF}") == SECOND


def test_what_a_killed_task_left_is_removed_and_the_outcome_is_the_same(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", ostree={"images": [LINK]})  # type: ignore[arg-type]
    scratch, places = tmp_path / "data" / "scratch", []
    with open_services(settings) as services:
        repo = Repository.open(unpack_archive_repo(tmp_path))
        ingest_ostree.publish(services, repo, REF, "os", REF, no_progress)
        (link,) = settings.ostree.images
        commit_images.export(services, link, lambda *_: places.extend(scratch.iterdir()))
        before = sorted((tmp_path / "data" / "blobs").rglob("*"))
        (places[0] / "layout").mkdir(parents=True)
        (places[0] / "layout" / "index.json").write_bytes(b"half of it")
        commit_images.export(services, link, no_progress)
        assert sorted((tmp_path / "data" / "blobs").rglob("*")) == before
        assert not list(scratch.iterdir())


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="starts from"):
        Settings(data=tmp_path, ostree={"images": [LINK, LINK | {"source": "image"}]})  # type: ignore[arg-type]


def test_a_pushed_image_is_a_commit_too(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(ostree={"images": [LINK | {"source": "image"}]}, auth={"anonymous_push": True})
    repo, images = unpack_archive_repo(tmp_path), tmp_path / "images"
    assert run(["container", "export", f"ostree:{repo}@{REF}", f"oci:{images}:v2", "--chunks", "2"]) == 0
    target = f"docker://{server.url.removeprefix('http://')}/os-image:stable"
    subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{images}:v2", target], check=True)
    assert ended(server, IMPORT).error is None
    pulled = tmp_path / "pulled"
    ostree(pulled, "init", "--mode=archive")
    ostree(pulled, "remote", "add", "--no-gpg-verify", "origin", f"{server.url}/ostree/os")
    ostree(pulled, "pull", "origin", REF)
    assert Repository.open(pulled).resolve(f"origin:{REF}") == SECOND
    ostree(pulled, "fsck")
    assert not list((tmp_path / "server0" / "scratch").iterdir())


def test_an_image_without_a_commit_says_so(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(ostree={"images": [LINK | {"source": "image"}]}, auth={"anonymous_push": True})
    publish_files(server.services, tmp_path / "images", {"file": b"no commit"}, "os-image")
    error = ended(server, IMPORT).error
    assert error is not None and "ostree.final-diffid" in str(error)
