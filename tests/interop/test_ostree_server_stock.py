"""Stock ostree pulls from our server as from its own."""

from __future__ import annotations

import os
import struct
import subprocess
import tarfile
from base64 import b64encode
from pathlib import Path

import pytest

from smidgen_client.cli import run
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import repos
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.gpg import make_key
from support.ostree import FIRST, REF, SECOND, VECTORS, ostree, unpack_archive_repo
from support.server import RunningServer, ServerFactory

pytestmark = pytest.mark.needs("ostree")
MODES = ["archive", "bare-user", "bare-user-only", pytest.param("bare", marks=pytest.mark.needs("root"))]


@pytest.fixture
def running(server_factory: ServerFactory) -> RunningServer:
    return server_factory(default_ostree_repo="toy")


@pytest.fixture
def toy(tmp_path: Path) -> Repository:
    return Repository.open(unpack_archive_repo(tmp_path / "source"))


def publish(running: RunningServer, source: Repository, commit: bytes, ref: str = REF) -> None:
    ingest_ostree.publish(running.services, source, commit.hex(), "toy", ref, no_progress)


def new_repo(path: Path, url: str, mode: str = "bare-user", *options: str) -> Path:
    ostree(path, "init", f"--mode={mode}")
    ostree(path, "remote", "add", *(options or ("--no-gpg-verify",)), "origin", url)
    return path


def commit_tree(repo: Path, tree: Path, branch: str, *options: str) -> bytes:
    return bytes.fromhex(ostree(repo, "commit", f"--branch={branch}", f"--tree=dir={tree}", *options).strip())


def small_tree(path: Path) -> Path:
    (path / "usr/bin").mkdir(parents=True)
    (path / "usr/bin/tool").write_bytes(b"\x7fELF" + bytes(range(256)) * 2000)
    (path / "usr/bin/link").symlink_to("tool")
    (path / "usr/empty").write_bytes(b"")
    return path


@pytest.mark.parametrize("mode", MODES)
def test_published_from_any_mode_and_pulled_into_any_mode(running: RunningServer, tmp_path: Path, mode: str) -> None:
    source = tmp_path / "source"
    ostree(source, "init", f"--mode={mode}")
    commit = commit_tree(source, small_tree(tmp_path / "tree"), "os/stable", "--no-xattrs", "--owner-uid=0")
    publish(running, Repository.open(source), commit, "os/stable")
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy", mode)
    ostree(device, "pull", "origin", "os/stable")
    assert ostree(device, "rev-parse", "origin:os/stable").strip() == commit.hex()
    ostree(device, "fsck")


def test_first_pull_and_update(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    device = new_repo(tmp_path / "device", f"{running.url}/repo")
    for commit in (FIRST, SECOND):
        publish(running, toy, commit)
        ostree(device, "pull", "origin", REF)
        assert ostree(device, "rev-parse", f"origin:{REF}").strip() == commit.hex()
    ostree(device, "fsck", "--all")
    assert "no such" not in ostree(device, "ls", "-R", f"origin:{REF}")


def test_pull_by_checksum(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy")
    ostree(device, "pull", "origin", SECOND.hex())
    ostree(device, "fsck")


def test_summary_and_refs_are_listed(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    publish(running, toy, FIRST, "toy/x86_64/old")
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy")
    shown = ostree(device, "remote", "summary", "origin")
    assert SECOND.hex() in shown and FIRST.hex() in shown and "Version (ostree.commit.version): 2.0" in shown
    assert ostree(device, "remote", "refs", "origin").split() == ["origin:toy/x86_64/old", f"origin:{REF}"]


def test_mirror_of_everything(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    source = tmp_path / "more"
    ostree(source, "init", "--mode=archive")
    publish(running, Repository.open(source), commit_tree(source, small_tree(tmp_path / "tree"), "os/b"), "os/b")
    copy = new_repo(tmp_path / "copy", f"{running.url}/ostree/toy", "archive")
    ostree(copy, "pull", "--mirror", "origin")
    assert ostree(copy, "refs").split() == ["os/b", REF]
    with running.anonymous() as client:
        assert (copy / "summary").read_bytes() == client.get("/repo/summary").content
    ostree(copy, "fsck", "--all")


def test_commit_signature_is_verified(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    publish(running, toy, FIRST, "toy/unsigned")
    key = f"--gpg-import={VECTORS / 'toy-gpg-public.asc'}"
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy", "bare-user", "--set=gpg-verify=true", key)
    ostree(device, "pull", "origin", REF)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ostree(device, "pull", "origin", "toy/unsigned")
    assert "signatures" in refused.value.stderr


def test_signature_of_the_sign_api_is_verified(
    running: RunningServer, toy: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's ostree has no ed25519; stock's engine for tests takes the same way: detached metadata, `sign-verify`."""
    monkeypatch.setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")
    ostree(toy.path, "sign", "--sign-type=dummy", SECOND.hex(), "known")
    publish(running, toy, SECOND)
    for key, good in (("known", True), ("another", False)):
        options = ("--set=gpg-verify=false", "--set=sign-verify=dummy", f"--set=verification-dummy-key={key}")
        device = new_repo(tmp_path / key, f"{running.url}/ostree/toy", "bare-user", *options)
        if good:
            ostree(device, "pull", "origin", REF)
            continue
        with pytest.raises(subprocess.CalledProcessError) as refused:
            ostree(device, "pull", "origin", REF)
        assert "incorrect signatures found" in refused.value.stderr


@pytest.mark.needs("gpg")
def test_summary_is_signed_with_the_configured_gpg_key(
    server_factory: ServerFactory, toy: Repository, tmp_path: Path
) -> None:
    with make_key(tmp_path / "g") as key:
        running = server_factory(ostree={"gpg_key": key.identity, "gpg_home": key.home})
        publish(running, toy, SECOND)
        options = ("--set=gpg-verify=false", "--set=gpg-verify-summary=true", f"--gpg-import={key.public}")
        device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy", "bare-user", *options)
        ostree(device, "pull", "origin", REF)
        stranger = new_repo(tmp_path / "other", f"{running.url}/ostree/toy", "bare-user", *options[:2])
        with pytest.raises(subprocess.CalledProcessError):
            ostree(stranger, "pull", "origin", REF)


def test_private_repository_with_a_password(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    with running.services.index.session() as session:
        repos.set_public(session, "ostree", "toy", public=False)
    stranger = new_repo(tmp_path / "stranger", f"{running.url}/ostree/toy")
    with pytest.raises(subprocess.CalledProcessError):
        ostree(stranger, "pull", "origin", REF)
    device = new_repo(tmp_path / "device", f"http://me:{running.token}@{running.host}/ostree/toy")
    ostree(device, "pull", "origin", REF)
    ostree(device, "fsck")


def test_deleted_ref_is_gone_for_stock_clients(running: RunningServer, toy: Repository, tmp_path: Path) -> None:
    publish(running, toy, SECOND)
    publish(running, toy, FIRST, "toy/x86_64/old")
    with running.client() as client:
        assert client.delete("/api/v1/refs/ostree/toy/toy/x86_64/old").status_code == 204
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy")
    assert ostree(device, "remote", "refs", "origin").split() == [f"origin:{REF}"]
    with pytest.raises(subprocess.CalledProcessError):
        ostree(device, "pull", "origin", "toy/x86_64/old")


def test_bootable_commit_is_recognised(running: RunningServer, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    modules = tree / "usr/lib/modules/6.1.0-18-amd64"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").write_bytes(b"kernel")
    (modules / "initramfs.img").write_bytes(b"initramfs")
    source = tmp_path / "source"
    ostree(source, "init", "--mode=archive")
    commit = commit_tree(source, tree, "os", "--add-metadata-string=version=12.5")
    publish(running, Repository.open(source), commit, "os")
    with running.anonymous() as client:
        (shown,) = client.get("/api/v1/revisions/ostree/toy").json()["revisions"]
    assert (shown["version"], shown["kernel"]) == ("12.5", "6.1.0-18-amd64")
    assert shown["initramfs"] == "usr/lib/modules/6.1.0-18-amd64/initramfs.img"


@pytest.mark.needs("root")
def test_labels_and_all_other_xattrs_survive(running: RunningServer, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    os.setxattr(tree / "usr/bin/tool", "user.label", b"system_u:object_r:bin_t:s0\0")
    os.setxattr(tree / "usr", "user.directory", b"yes")
    source = tmp_path / "source"
    ostree(source, "init", "--mode=bare")
    commit = commit_tree(source, tree, "os")
    publish(running, Repository.open(source), commit, "os")
    device = new_repo(tmp_path / "device", f"{running.url}/ostree/toy", "bare")
    ostree(device, "pull", "origin", "os")
    ostree(device, "checkout", "origin:os", str(tmp_path / "out"))
    assert os.getxattr(tmp_path / "out/usr/bin/tool", "user.label") == b"system_u:object_r:bin_t:s0\0"
    assert os.getxattr(tmp_path / "out/usr", "user.directory") == b"yes"


def test_acls_of_folders_out_of_a_tar(running: RunningServer, tmp_path: Path) -> None:
    """Stock ostree writes them twice into the dirmeta; the commit is taken, and handed out, as it is."""
    acl = b"\2\0\0\0" + b"".join(
        struct.pack("<HHi", tag, bits, who)
        for tag, bits, who in ((1, 7, -1), (4, 5, -1), (8, 5, 4), (16, 5, -1), (32, 5, -1))
    )
    twice = {"SCHILY.xattr.system.posix_acl_access": acl, "LIBARCHIVE.xattr.system.posix_acl_access": b64encode(acl)}
    with tarfile.open(tmp_path / "tree.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, headers in ((".", {}), ("usr", {}), ("usr/log", twice)):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o2755
            info.pax_headers = {key: value.decode("utf-8", "surrogateescape") for key, value in headers.items()}
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("usr/log/journal"))
    repo, pulled = tmp_path / "acls", tmp_path / "pulled"
    ostree(repo, "init", "--mode=archive")
    commit = ostree(repo, "commit", "-b", "acls", f"--tree=tar={tmp_path / 'tree.tar'}").strip()
    ingest_ostree.publish(running.services, Repository.open(repo), "acls", "acls", "acls", no_progress)
    ostree(pulled, "init", "--mode=archive")
    ostree(pulled, "remote", "add", "--no-gpg-verify", "origin", f"{running.url}/ostree/acls")
    ostree(pulled, "pull", "origin", "acls")
    assert Repository.open(pulled).resolve("origin:acls").hex() == commit
    assert ostree(pulled, "ls", "-dX", "origin:acls", "/usr/log").count("posix_acl_access") == 2
    device = tmp_path / "device"
    assert (
        run(["pull", running.url, "ostree/acls/acls", "--into", f"ostree:{device}", "--state", str(tmp_path / "st")])
        == 0
    )
    ostree(device, "fsck")
