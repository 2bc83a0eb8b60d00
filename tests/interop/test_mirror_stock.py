"""Mirroring repositories that stock ostree made, from a plain web server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smidgen_server.index.tasks import TaskRow
from support.gpg import make_key
from support.ostree import FIRST, REF, SECOND, ostree, unpack_archive_repo
from support.server import RunningServer
from support.static_site import Fault, StaticSite, serve_directory
from support.surface import fetch, fetch_document

pytestmark = pytest.mark.needs("ostree")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return unpack_archive_repo(tmp_path / "origin")


@pytest.fixture
def site(origin: Path) -> Iterator[StaticSite]:
    with serve_directory(origin) as running:
        yield running


def mirror(running: RunningServer, site: StaticSite, *refs: str, repo: str = "copy") -> TaskRow:
    with running.client() as client:
        answer = client.post(f"/api/v1/ostree/{repo}/mirror", json={"url": site.url, "refs": list(refs)})
        assert answer.status_code == 202, answer.text
    return running.services.tasks.wait(answer.json()["task"], 120)


def device(path: Path, url: str, *options: str) -> Path:
    ostree(path, "init", "--mode=bare-user")
    ostree(path, "remote", "add", *(options or ("--no-gpg-verify",)), "origin", url)
    return path


def test_one_ref(server: RunningServer, site: StaticSite, tmp_path: Path) -> None:
    assert mirror(server, site, REF).state == "done"
    with server.anonymous() as client:
        found = fetch(client, f"ostree/copy/{REF}")
    assert found.document.revision.raw == SECOND and found.ostree.commitmeta
    mine = device(tmp_path / "device", f"{server.url}/ostree/copy")
    ostree(mine, "pull", "origin", REF)
    ostree(mine, "fsck")


def test_only_missing_objects_are_fetched(server: RunningServer, site: StaticSite, origin: Path) -> None:
    ref = origin / "refs/heads" / REF
    (origin / "summary").unlink()
    ref.write_text(FIRST.hex() + "\n")
    assert mirror(server, site, REF).state == "done"
    first = {path for path in site.paths if path.startswith("/objects/") and not path.endswith("commitmeta")}
    site.paths.clear()
    ref.write_text(SECOND.hex() + "\n")
    assert mirror(server, site, REF).state == "done"
    second = [path for path in site.paths if path.startswith("/objects/") and not path.endswith("commitmeta")]
    assert second and not first.intersection(second) and len(second) == len(set(second))
    site.paths.clear()
    assert mirror(server, site, REF).state == "done"
    assert [path for path in site.paths if path.startswith("/objects/")] == [
        f"/objects/{SECOND.hex()[:2]}/{SECOND.hex()[2:]}.commitmeta"
    ]
    with server.anonymous() as client:
        assert fetch_document(client, f"ostree/copy/{REF}").version == 2


@pytest.mark.needs("gpg")
def test_signed_summary_is_served_as_it_was(server: RunningServer, tmp_path: Path) -> None:
    origin = tmp_path / "signed"
    ostree(origin, "init", "--mode=archive")
    ostree(origin, "pull-local", str(unpack_archive_repo(tmp_path / "toy")), REF)
    with make_key(tmp_path / "g") as key:
        ostree(origin, "summary", "-u", f"--gpg-homedir={key.home}", f"--gpg-sign={key.identity}")
        with serve_directory(origin) as site:
            assert mirror(server, site).state == "done"
        with server.anonymous() as client:
            for name in ("summary", "summary.sig"):
                assert client.get(f"/ostree/copy/{name}").content == (origin / name).read_bytes()
        options = ("--set=gpg-verify=false", "--set=gpg-verify-summary=true", f"--gpg-import={key.public}")
        mine = device(tmp_path / "device", f"{server.url}/ostree/copy", *options)
        ostree(mine, "pull", "origin", REF)
        ostree(mine, "fsck")


def test_passing_faults_are_outlived(server: RunningServer, site: StaticSite) -> None:
    def faults(path: str, seen: int) -> Fault | None:
        if seen or not path.startswith("/objects/") or path.endswith("commitmeta"):
            return None
        return [
            Fault(503),
            Fault(body=b"cut", length=1000),
            Fault(body=b"something else"),
            Fault(429),
        ][sum(path.encode()) % 4]

    site.faults = faults
    assert mirror(server, site, REF).state == "done"
    with server.anonymous() as client:
        fetch(client, f"ostree/copy/{REF}")


def test_remote_without_an_object_changes_nothing(server: RunningServer, site: StaticSite) -> None:
    site.faults = lambda path, _seen: Fault(404) if path.endswith(".filez") else None
    failed = mirror(server, site, REF)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error["code"] == "NAME_UNKNOWN" and ".filez" in failed.error["detail"]["url"]
    with server.anonymous() as client:
        assert client.get(f"/u/refs/ostree/copy/{REF}.json").status_code == 404
        assert client.get(f"/ostree/copy/refs/heads/{REF}").status_code == 404
    site.faults = lambda _path, _seen: None
    site.paths.clear()
    assert mirror(server, site, REF).state == "done"
    assert not any(path.endswith((".dirtree", ".dirmeta", ".commit")) for path in site.paths)


def test_remote_that_lies_is_refused(server: RunningServer, site: StaticSite, origin: Path) -> None:
    other = next(origin.rglob("*.dirmeta")).read_bytes()
    site.faults = lambda path, _seen: Fault(body=other) if path.endswith(".dirtree") else None
    failed = mirror(server, site, REF)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error["code"] == "DIGEST_INVALID"


def test_remote_of_another_mode_is_refused(server: RunningServer, tmp_path: Path) -> None:
    origin = tmp_path / "bare"
    ostree(origin, "init", "--mode=bare-user")
    with serve_directory(origin) as site:
        failed = mirror(server, site, REF)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error["detail"] == {"mode": "bare-user"}


def test_only_administrators_mirror(server_factory: object, tmp_path: Path) -> None:
    assert callable(server_factory)
    token, sha256 = "t" * 43, __import__("hashlib").sha256(b"t" * 43).hexdigest()
    running = server_factory(auth={"tokens": [{"name": "ci", "sha256": sha256, "actions": ["pull", "push"]}]})
    with running.anonymous() as client:
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.post("/api/v1/ostree/copy/mirror", json={"url": "http://x"}, headers=headers)
    assert answer.status_code == 403
