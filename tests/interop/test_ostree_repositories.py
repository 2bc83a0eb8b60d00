"""Repositories of stock ostree are read by us, and ours by stock ostree, in every mode."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from smidgen_deltas.errors import DigestMismatch, SizeMismatch, StorageError
from smidgen_deltas.ostree.file_writer import NotRepresentable
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import ObjectMissing, Repository
from smidgen_deltas.ostree.repo_lock import repository_lock
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, Transaction
from smidgen_deltas.ostree.walk import bootable, closure
from support.ostree import REF, SECOND, ostree, unpack_archive_repo

pytestmark = pytest.mark.needs("ostree")
ROOT = os.geteuid() == 0
MODES = ["archive", "bare-user", *(["bare"] if ROOT else [])]


@pytest.fixture
def source(tmp_path: Path) -> Repository:
    return Repository.open(unpack_archive_repo(tmp_path / "source"))


def copy(source: Repository, transaction: Transaction, commit: bytes, limit: int | None = None) -> int:
    """Copy what is missing; stop after `limit` objects, as if interrupted. Returns how many were copied."""
    copied = 0
    for visited in closure(source.metadata, commit):
        if transaction.has(visited.name):
            continue
        if copied == limit:
            break
        copied += 1
        if visited.data is not None:
            transaction.put_metadata(visited.name, visited.data)
            continue
        with source.open_file(visited.name.checksum) as file:
            transaction.put_file(visited.name.checksum, file.header, file.size, file.chunks)
    return copied


def read_everything(repository: Repository, commit: bytes) -> int:
    total = 0
    for visited in closure(repository.metadata, commit):
        if visited.name.type is ObjectType.FILE:
            with repository.open_file(visited.name.checksum) as file:
                total += sum(len(chunk) for chunk in file.chunks)
    return total


@pytest.mark.parametrize("mode", MODES)
def test_stock_repositories_are_read_and_verified(tmp_path: Path, source: Repository, mode: str) -> None:
    repo = tmp_path / "stock"
    ostree(repo, "init", f"--mode={mode}")
    ostree(repo, "pull-local", str(source.path), REF)
    repository = Repository.open(repo)
    assert repository.mode == mode
    assert repository.refs() == {REF: SECOND}
    assert read_everything(repository, repository.resolve(REF)) == 1385408
    assert repository.resolve(f"{REF}^") == repository.resolve(SECOND.hex() + "^")


def test_stock_bare_user_only_repository_is_read(tmp_path: Path) -> None:
    tree, repo = tmp_path / "tree", tmp_path / "repo"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("text")
    (tree / "link").symlink_to("sub/file")
    ostree(repo, "init", "--mode=bare-user-only")
    ostree(repo, "commit", "--branch=b", "--canonical-permissions", f"--tree=dir={tree}")
    repository = Repository.open(repo)
    assert read_everything(repository, repository.resolve("b")) == 4


@pytest.mark.parametrize("mode", MODES)
def test_our_repositories_pass_fsck_and_check_out(tmp_path: Path, source: Repository, mode: str) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", mode)
    with writer.transaction() as transaction:
        copy(source, transaction, SECOND)
        transaction.put_commitmeta(SECOND, source.commitmeta(SECOND) or b"")
        transaction.set_ref(REF, SECOND)
        transaction.commit()
    assert "no errors" in ostree(writer.path, "fsck")
    checkout = tmp_path / "checkout"
    ostree(writer.path, "checkout", *([] if mode == "bare" else ["-U"]), REF, str(checkout))
    assert (checkout / "bin").exists() or any(checkout.iterdir())
    assert "Subject" in ostree(writer.path, "show", REF) or "second" in ostree(writer.path, "show", REF)
    assert list((writer.path / "tmp").glob("smidgen-*")) == []


def test_our_bare_user_only_repository_passes_fsck(tmp_path: Path) -> None:
    tree, stock = tmp_path / "tree", tmp_path / "stock"
    tree.mkdir()
    (tree / "file").write_text("text")
    (tree / "link").symlink_to("file")
    ostree(stock, "init", "--mode=archive")
    ostree(stock, "commit", "--branch=b", "--canonical-permissions", f"--tree=dir={tree}")
    source = Repository.open(stock)
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "bare-user-only")
    with writer.transaction() as transaction:
        copy(source, transaction, source.resolve("b"))
        transaction.set_ref("b", source.resolve("b"), remote="origin")
        transaction.commit()
    assert "no errors" in ostree(writer.path, "fsck")
    assert writer.repository.refs() == {"origin:b": source.resolve("b")}


def test_bare_user_only_refuses_what_it_cannot_keep(tmp_path: Path, source: Repository) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "bare-user-only")
    with writer.transaction() as transaction, pytest.raises(NotRepresentable):
        copy(source, transaction, SECOND)


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_copy_goes_on_with_what_it_has(tmp_path: Path, source: Repository, mode: str) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", mode)
    with writer.transaction() as transaction:
        assert copy(source, transaction, SECOND, limit=20) == 20
    assert not writer.repository.has(ObjectName(ObjectType.COMMIT, SECOND))
    with writer.transaction() as transaction:
        assert transaction.recovered == 20
        assert copy(source, transaction, SECOND) == 31 - 20
        transaction.set_ref(REF, SECOND)
        transaction.commit()
    assert "no errors" in ostree(writer.path, "fsck")


def test_what_was_staged_before_a_power_cut_is_verified_again(tmp_path: Path, source: Repository) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "archive")
    with writer.transaction() as transaction:
        copy(source, transaction, SECOND, limit=20)
    [staging] = (writer.path / "tmp").glob("smidgen-*")
    emptied = next(staging.rglob("*.filez"))
    emptied.write_bytes(b"")
    staging.rename(staging.with_name("smidgen-0123456789abcdef-0"))
    with writer.transaction() as transaction:
        assert transaction.recovered == 19
        copy(source, transaction, SECOND)
        transaction.set_ref(REF, SECOND)
        transaction.commit()
    assert "no errors" in ostree(writer.path, "fsck")


def test_two_transactions_at_once_do_not_meet(tmp_path: Path, source: Repository) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "archive")
    with writer.transaction() as first, writer.transaction() as second:
        copy(source, first, SECOND, limit=10)
        copy(source, second, SECOND)
        first.commit()
        second.set_ref(REF, SECOND)
        second.commit()
    assert "no errors" in ostree(writer.path, "fsck")


def test_stock_ostree_and_we_see_each_others_locks(tmp_path: Path, source: Repository) -> None:
    ostree(source.path, "config", "set", "core.lock-timeout-secs", "0")
    repository = Repository.open(source.path)
    with RepositoryWriter(repository).transaction():
        ostree(source.path, "commit", "--branch=other", f"--tree=ref={REF}")
        with pytest.raises(CalledProcessError) as refused:
            ostree(source.path, "prune")
    assert "Locking repo exclusive failed" in refused.value.stderr
    with repository_lock(repository, exclusive=True), pytest.raises(CalledProcessError) as refused:
        ostree(source.path, "commit", "--branch=another", f"--tree=ref={REF}")
    assert "Locking repo shared failed" in refused.value.stderr
    ostree(source.path, "prune")


def test_wrong_content_is_never_visible(tmp_path: Path, source: Repository) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "archive")
    file = next(v.name for v in closure(source.metadata, SECOND) if v.name.type is ObjectType.FILE)
    with source.open_file(file.checksum) as opened:
        header, size, body = opened.header, opened.size, b"".join(opened.chunks)
    with writer.transaction() as transaction:
        with pytest.raises((DigestMismatch, SizeMismatch)):
            transaction.put_file(bytes(32), header, size, [body])
        with pytest.raises((DigestMismatch, SizeMismatch)):
            transaction.put_file(file.checksum, header, size + 1, [body])
        with pytest.raises(DigestMismatch):
            transaction.put_metadata(ObjectName(ObjectType.COMMIT, bytes(32)), b"commit")
        transaction.commit()
    assert list(writer.path.rglob("*.filez")) == []
    assert list(writer.path.rglob("*.part")) == []


def test_damaged_object_is_found_when_read(source: Repository) -> None:
    commit = source.path / "objects" / SECOND.hex()[:2] / f"{SECOND.hex()[2:]}.commit"
    commit.write_bytes(commit.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestMismatch):
        source.metadata(ObjectName(ObjectType.COMMIT, SECOND))
    with pytest.raises(ObjectMissing):
        source.metadata(ObjectName(ObjectType.COMMIT, bytes(32)))


def test_full_disk_is_a_storage_error(tmp_path: Path, source: Repository) -> None:
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "archive")
    with writer.transaction() as transaction:
        (writer.path / "objects").rmdir()
        (writer.path / "objects").write_text("in the way")
        copy(source, transaction, SECOND)
        with pytest.raises(StorageError):
            transaction.commit()


def test_kernel_is_found_where_ostree_looks() -> None:
    found = bootable(["usr/lib/modules/6.1.0-9/vmlinuz", "usr/lib/modules/6.1.0-9/initramfs.img", "usr/bin/ls"])
    assert found is not None
    assert (found.version, found.initramfs) == ("6.1.0-9", "usr/lib/modules/6.1.0-9/initramfs.img")
    assert bootable(["usr/bin/ls", "usr/lib/modules/6.1/initramfs.img"]) is None
