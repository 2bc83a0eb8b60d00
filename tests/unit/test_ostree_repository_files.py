"""Local repositories as they are met: other programs' leftovers, files that are no objects, users without rights."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.bare_header import OSTREEMETA
from smidgen_deltas.ostree.file_writer import write_bare
from smidgen_deltas.ostree.objects import FileHeader, ObjectInvalid, ObjectName, ObjectType, checksum_file, swap32
from smidgen_deltas.ostree.repo import ObjectMissing, Repository, partial_path
from smidgen_deltas.ostree.repo_lock import RepositoryBusy, repository_lock
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_deltas.ostree.walk import bootable, closure, kernel_order
from support.ostree import REF, SECOND, unpack_archive_repo

ZERO = bytes(32)


@pytest.fixture
def unprivileged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Be an ordinary user, standing in a folder of one's own; yields uid and gid."""
    uid, gid = (os.geteuid() or 65534), (os.getegid() or 65534)
    monkeypatch.chdir(tmp_path)
    if os.geteuid() != 0:
        yield uid, gid
        return
    os.chown(tmp_path, uid, gid)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield uid, gid
    finally:
        os.seteuid(0)
        os.setegid(0)


def empty_repository(path: Path, mode: str, core: str = "") -> Repository:
    RepositoryWriter.open_or_create(path, mode)
    with (path / "config").open("a") as config:
        config.write(core)
    return Repository.open(path)


def object_path(repository: Repository, checksum: bytes = ZERO) -> Path:
    path = repository.path / "objects" / checksum.hex()[:2] / f"{checksum.hex()[2:]}.file"
    path.parent.mkdir(exist_ok=True)
    return path


def read(repository: Repository, checksum: bytes = ZERO) -> bytes:
    with repository.open_file(checksum) as file:
        return b"".join(file.chunks)


def test_a_user_writes_read_only_files_with_xattrs(unprivileged: tuple[int, int]) -> None:
    header = FileHeader(*unprivileged, 0o100444, ((b"user.note\0", b"value"),))
    path = Path("object")
    write_bare(path, checksum_file(header, [b"text"]), header, 4, [b"text"])
    assert os.getxattr(path, "user.note") == b"value"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.skipif(os.geteuid() != 0, reason="capabilities of files are root's to set")
def test_a_capability_survives_the_change_of_owner(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service, permitted
    header = FileHeader(1000, 1000, 0o100755, ((b"security.capability\0", capability),))
    path = tmp_path / "object"
    write_bare(path, checksum_file(header, [b"text"]), header, 4, [b"text"])
    assert os.getxattr(path, "security.capability") == capability
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (1000, 0o755)


@pytest.mark.parametrize(
    "ascending",
    [
        ["6.9.12-1-amd64", "6.10.0-rc1-amd64", "6.10.0-amd64", "6.10.2-amd64", "6.10.11-amd64"],
        ["5.14.0-9.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.22.1.el9_4.x86_64"],
        ["4.9", "4.10", "4.10.1"],
    ],
)
def test_of_several_kernels_the_newest_boots(ascending: list[str]) -> None:
    assert sorted(ascending, key=kernel_order) == ascending
    found = bootable([f"usr/lib/modules/{version}/vmlinuz" for version in reversed(ascending)])
    assert found is not None
    assert found.version == ascending[-1]


def test_files_that_are_still_being_written_are_no_refs(tmp_path: Path) -> None:
    repository = Repository.open(unpack_archive_repo(tmp_path))
    heads = repository.path / "refs" / "heads"
    (heads / ".tmp-XXXXXX").write_bytes(b"")
    (heads / "toy" / "stable.123.part").write_bytes(b"de45")
    (heads / "dangling").symlink_to("nowhere")
    os.mkfifo(heads / "pipe")
    (heads / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    remote = repository.path / "refs" / "remotes" / "origin"
    remote.mkdir()
    (remote / "main").write_text(SECOND.hex() + "\n")
    assert repository.refs() == {REF: SECOND, "origin:main": SECOND}
    with pytest.raises(NotFound):
        repository.resolve("pipe")


def test_a_damaged_ref_is_named(tmp_path: Path) -> None:
    repository = Repository.open(unpack_archive_repo(tmp_path))
    (repository.path / "refs" / "heads" / "broken").write_bytes(b"\0" * 65)
    with pytest.raises(FormatError, match="broken"):
        repository.refs()


@pytest.mark.parametrize("mode", ["archive", "bare", "bare-user", "bare-user-only"])
def test_a_fifo_is_not_an_object(tmp_path: Path, mode: str) -> None:
    repository = empty_repository(tmp_path / "repo", mode)
    path = object_path(repository)
    os.mkfifo(path.with_suffix(".filez") if mode == "archive" else path)
    with pytest.raises(FormatError):
        read(repository)
    if mode == "archive":
        with pytest.raises(ObjectInvalid):
            repository.open_stored(ZERO)
    os.mkfifo(path.with_suffix(".commit"))
    with pytest.raises(ObjectInvalid):
        repository.metadata(ObjectName(ObjectType.COMMIT, ZERO))


def test_a_fifo_in_place_of_the_config_makes_it_no_repository(tmp_path: Path) -> None:
    repository = empty_repository(tmp_path / "repo", "archive")
    (repository.path / "config").unlink()
    os.mkfifo(repository.path / "config")
    with pytest.raises(NotFound):
        Repository.open(repository.path)


def test_a_symlink_target_that_is_not_utf_8(tmp_path: Path) -> None:
    bare = empty_repository(tmp_path / "bare", "bare-user-only")
    object_path(bare).symlink_to(os.fsdecode(b"\xff/x"))
    with pytest.raises(ObjectInvalid, match="UTF-8"):
        read(bare)
    user = empty_repository(tmp_path / "user", "bare-user")
    link = object_path(user)
    for content, error in ((b"\xff\0", ObjectInvalid), (b"x" * 5000, LimitExceeded)):
        link.write_bytes(content)
        os.setxattr(link, OSTREEMETA, gvariant.encode("(uuua(ayay))", (0, 0, swap32(0o120777), ())))
        with pytest.raises(error):
            read(user)


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    repository = empty_repository(tmp_path / "repo", "bare")
    with pytest.raises(ObjectMissing):
        read(repository)


def test_a_completed_commit_is_no_longer_marked_partial(tmp_path: Path) -> None:
    source = Repository.open(unpack_archive_repo(tmp_path))
    writer = RepositoryWriter.open_or_create(tmp_path / "ours", "archive")
    partial_path(writer.path, SECOND).touch()
    with writer.transaction() as transaction:
        for visited in closure(source.metadata, SECOND):
            if visited.data is not None:
                transaction.put_metadata(visited.name, visited.data)
            else:
                with source.open_file(visited.name.checksum) as file:
                    transaction.put_file(visited.name.checksum, file.header, file.size, file.chunks)
        transaction.set_ref(REF, SECOND)
        assert writer.repository.is_partial(SECOND)
        transaction.commit()
    assert not writer.repository.is_partial(SECOND)
    assert writer.repository.refs() == {REF: SECOND}


def test_whoever_prunes_is_alone_and_is_waited_for_no_longer_than_the_config_says(tmp_path: Path) -> None:
    repository = empty_repository(tmp_path / "repo", "archive", "lock-timeout-secs=0\n")
    with repository_lock(repository, exclusive=True), pytest.raises(RepositoryBusy):
        RepositoryWriter(repository).transaction().__enter__()
    with RepositoryWriter(repository).transaction(), RepositoryWriter(repository).transaction():
        with pytest.raises(RepositoryBusy), repository_lock(repository, exclusive=True):
            pytest.fail("two others write")
    with repository_lock(repository, exclusive=True):
        pass


def test_a_repository_may_do_without_locks(tmp_path: Path) -> None:
    repository = empty_repository(tmp_path / "repo", "archive", "locking=false\n")
    with repository_lock(repository, exclusive=True), repository_lock(repository, exclusive=True):
        assert not (repository.path / ".lock").exists()


def test_a_wait_that_is_no_number(tmp_path: Path) -> None:
    repository = empty_repository(tmp_path / "repo", "archive", "lock-timeout-secs=soon\n")
    with pytest.raises(FormatError, match="soon"), repository_lock(repository, exclusive=False):
        pytest.fail("the config is wrong")
