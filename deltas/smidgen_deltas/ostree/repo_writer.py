"""Writing a local repository: nothing visible before it is verified and on disk.

A transaction puts objects into a staging folder below the repository's `tmp`, as stock ostree does, and `commit` then
 1. flushes the file system, so that every staged object is really there,
 2. renames all objects but commits into `objects`, and flushes again,
 3. renames the commits, and their detached metadata,
 4. takes stock ostree's mark of an incomplete commit from the commits that refs will name,
 5. writes the refs, each by rename of a flushed file.
A power cut between any two steps leaves complete objects only, and refs that point at complete commits.

The staging folder is named after the machine's boot. After kill -9 the same boot finds it again and goes on with what
is in it; after a power cut it belongs to another boot, so what it holds is verified before it is used. Two
transactions at once use folders of their own; a folder is taken over only when its lock is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import SmidgenError, StorageError, UnsupportedFeature
from smidgen_deltas.ostree.config import format_config
from smidgen_deltas.ostree.file_writer import WRITERS
from smidgen_deltas.ostree.objects import (
    HASHED_METADATA,
    FileHeader,
    ObjectInvalid,
    ObjectName,
    ObjectType,
    check_metadata,
    loose_path,
)
from smidgen_deltas.ostree.refs import check_ref, is_checksum
from smidgen_deltas.ostree.repo import FileObject, Repository, partial_path
from smidgen_deltas.ostree.repo_lock import repository_lock

FOLDERS: Final = (
    "extensions",
    "objects",
    "refs/heads",
    "refs/mirrors",
    "refs/remotes",
    "state",
    "tmp/cache",
)
STAGING: Final = "smidgen-"
MAX_STAGING: Final = 64
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LAST: Final = (ObjectType.COMMITMETA, ObjectType.COMMIT)


class RepositoryWriter:
    """A repository that may be written to. Build with `open_or_create`."""

    def __init__(self, repository: Repository) -> None:
        if repository.mode not in WRITERS:
            raise UnsupportedFeature("repositories of this mode cannot be written", mode=repository.mode)
        self.repository = repository
        self.path = repository.path
        self.mode = repository.mode

    @classmethod
    def open_or_create(cls, path: Path | str, mode: str = "bare-user") -> RepositoryWriter:
        """An existing repository keeps its mode. Raises StorageError, FormatError, UnsupportedFeature."""
        path = Path(path)
        if not (path / "config").exists():
            with storage(path):
                for folder in FOLDERS:
                    (path / folder).mkdir(parents=True, exist_ok=True)
                _replace(path / "config", format_config(mode), path / "tmp")
        return cls(Repository.open(path))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction; what was staged stays for the next one unless `commit` was called.

        Holds the repository's lock shared, so that a prune waits, and its own staging folder exclusively.
        Raises RepositoryBusy, StorageError.
        """
        with contextlib.ExitStack() as stack:
            with storage(self.path):
                # the order matters: whoever prunes takes this lock exclusively, then looks at staging folders
                stack.enter_context(repository_lock(self.repository, exclusive=False))
                staging = _claim(self.path / "tmp", stack)
            try:
                yield Transaction(self, staging)
            finally:
                if not any(staging.rglob("*.*")):
                    shutil.rmtree(staging, ignore_errors=True)


class Transaction:
    """Objects on their way into a repository. Calls may come from several threads but for `commit`."""

    def __init__(self, writer: RepositoryWriter, staging: Path) -> None:
        self._writer = writer
        self._staging = staging
        self._refs: list[tuple[Path, bytes]] = []
        self._staged = _recovered(staging, writer)
        self._earlier = frozenset(self._staged)

    @property
    def recovered(self) -> int:
        """How many objects an earlier, interrupted transaction left here."""
        return len(self._staged)

    def has(self, name: ObjectName) -> bool:
        """Whether the object is in the repository or staged."""
        return name in self._staged or self._writer.repository.has(name)

    def put_metadata(self, name: ObjectName, data: bytes) -> None:
        """Stage a dirtree, dirmeta or commit. Raises DigestMismatch, StorageError."""
        if name.type not in HASHED_METADATA:
            raise ObjectInvalid("not a metadata object that is named by its hash", object=str(name))
        check_metadata(name, data)
        if not self.has(name):
            self._stage(name, lambda path: _write_new(path, data))

    def put_commitmeta(self, commit: bytes, data: bytes) -> None:
        """Stage detached metadata; it replaces what the repository has."""
        name = ObjectName(ObjectType.COMMITMETA, commit)
        self._stage(name, lambda path: _write_new(path, data))

    def put_file(self, checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes]) -> None:
        """Stage a file object while hashing it.

        Raises SizeMismatch, DigestMismatch (nothing is kept then), NotRepresentable, StorageError.
        """
        name = ObjectName(ObjectType.FILE, checksum)
        write = WRITERS[self._writer.mode]
        self._stage(name, lambda path: write(path, checksum, header, size, chunks))

    @contextlib.contextmanager
    def open_file(self, checksum: bytes) -> Iterator[FileObject]:
        """A file object, staged or in the repository. Raises ObjectMissing, FormatError, StorageError."""
        with self._holder(ObjectName(ObjectType.FILE, checksum)).open_file(checksum) as opened:
            yield opened

    def metadata(self, name: ObjectName) -> bytes:
        """A dirtree, dirmeta or commit, staged or in the repository. Raises ObjectMissing, DigestMismatch."""
        return self._holder(name).metadata(name)

    def _holder(self, name: ObjectName) -> Repository:
        """Where an object is to be looked for."""
        repository = self._writer.repository
        return Repository(self._staging, repository.config) if name in self._staged else repository

    def set_ref(self, ref: str, commit: bytes, remote: str | None = None) -> None:
        """Let a branch (of a remote) point at a commit, which must be complete, once the transaction commits."""
        base = f"refs/remotes/{check_ref(remote)}" if remote else "refs/heads"
        self._refs.append((self._writer.path / base / check_ref(ref), commit))

    def commit(self) -> None:
        """Make everything visible, in the order the module describes. Raises StorageError."""
        path = self._writer.path
        with storage(path):
            _flush(path)
            self._publish([name for name in self._staged if name.type not in _LAST])
            _flush(path)
            for kind in _LAST:
                self._publish([name for name in self._staged if name.type is kind])
            _flush(path)
            for target, commit in self._refs:
                partial_path(path, commit).unlink(missing_ok=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, commit.hex().encode() + b"\n", path / "tmp")
            self._staged.clear()
            self._refs.clear()

    def discard(self) -> None:
        """Forget what was staged by this transaction; what an earlier one left stays. Raises StorageError."""
        with storage(self._staging):
            for name in self._staged - self._earlier:
                (self._staging / loose_path(name, self._writer.mode)).unlink(missing_ok=True)
        self._staged &= self._earlier
        self._refs.clear()

    def _stage(self, name: ObjectName, write: Callable[[Path], None]) -> None:
        path = self._staging / loose_path(name, self._writer.mode)
        part = self._staging / f"{name}.{threading.get_ident():x}.part"
        with storage(path):
            try:
                write(part)
                path.parent.mkdir(parents=True, exist_ok=True)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        self._staged.add(name)

    def _publish(self, names: list[ObjectName]) -> None:
        for name in names:
            relative = loose_path(name, self._writer.mode)
            target = self._writer.path / relative
            target.parent.mkdir(exist_ok=True)
            (self._staging / relative).rename(target)


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            "the repository cannot be written",
            path=str(error.filename or path),
            reason=os.strerror(error.errno or 0),
            errno=errno.errorcode.get(error.errno or 0, "?"),
        ) from error


def _claim(tmp: Path, stack: contextlib.ExitStack) -> Path:
    """A staging folder of one's own: one that an interrupted transaction left, else a new one."""
    tmp.mkdir(exist_ok=True)
    boot = _boot()
    for folder in sorted(tmp.glob(f"{STAGING}*")):
        if _locked(folder, stack):
            return folder
    for number in range(MAX_STAGING):
        folder = tmp / f"{STAGING}{boot}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            if _locked(folder, stack):
                return folder
    raise StorageError("too many transactions at once in this repository", path=str(tmp), limit=MAX_STAGING)


def _locked(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Whether this process now holds the lock of a staging folder; it is held until the transaction ends."""
    with contextlib.ExitStack() as attempt:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        attempt.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        stack.push(attempt.pop_all())
    return True


def _recovered(staging: Path, writer: RepositoryWriter) -> set[ObjectName]:
    """What an earlier transaction left in `staging`; verified again when it was written before the last boot."""
    trusted = staging.name.startswith(STAGING + _boot())
    staged = Repository(staging, writer.repository.config)
    found = set()
    for file in list(staging.rglob("*")):
        name = _object_name(file, writer.mode)
        if name is not None and (trusted or _sound(staged, name)):
            found.add(name)
        elif not file.is_dir() or file.is_symlink():
            file.unlink()
    return found


def _object_name(file: Path, mode: str) -> ObjectName | None:
    for kind in ObjectType:
        extension = loose_path(ObjectName(kind, bytes(32)), mode).rpartition("0")[2]
        text = file.parent.name + file.name.removesuffix(extension)
        if file.name.endswith(extension) and is_checksum(text):
            return ObjectName(kind, bytes.fromhex(text))
    return None


def _sound(staged: Repository, name: ObjectName) -> bool:
    """Whether a staged object still is what its name says."""
    try:
        if name.type in HASHED_METADATA:
            staged.metadata(name)
        elif name.type is ObjectType.FILE:
            with staged.open_file(name.checksum) as opened:
                for _ in opened.chunks:
                    pass
    except (SmidgenError, OSError):
        return False
    return name.type in HASHED_METADATA or name.type is ObjectType.FILE


def _boot() -> str:
    """A name for this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:16]


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _replace(path: Path, data: bytes, folder: Path) -> None:
    """Write a small file so that after a power cut it is either the old or the new one.

    folder: where it is written first; not beside `path`, as every file in `refs/` is a ref to stock ostree.
    """
    part = folder / f"{path.name}.{os.getpid()}.part"
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(path: Path) -> None:
    """Everything written to this file system so far is on disk when this returns (syncfs(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
