"""Reading a local repository, whatever its mode.

Everything that leaves here was checked against its name: metadata at once, file content by the reader that counts
and hashes it to the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from smidgen_deltas.errors import DigestMismatch, LimitExceeded, NotFound, StorageError
from smidgen_deltas.ostree.bare_header import open_regular, read_bare_header
from smidgen_deltas.ostree.config import Config, parse_config
from smidgen_deltas.ostree.filez import BLOCK, inflate, read_filez_header
from smidgen_deltas.ostree.objects import (
    MAX_METADATA,
    Commit,
    FileHeader,
    ObjectName,
    ObjectType,
    check_metadata,
    loose_path,
)
from smidgen_deltas.ostree.refs import check_ref, is_checksum, is_ref, parse_ref_file


class ObjectMissing(NotFound):
    """An object is not in the repository."""

    code = "BLOB_UNKNOWN"


@dataclass(frozen=True, slots=True)
class FileObject:
    """An opened file object.

    Args:
        chunks: the content, in blocks; the last step raises DigestMismatch if it was not what the name promises.
    """

    header: FileHeader
    size: int
    chunks: Iterator[bytes]


class Repository:
    """A local repository, opened for reading."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def open(cls, path: Path | str) -> Repository:
        """Raises NotFound when there is no repository, FormatError or UnsupportedFeature for a bad config."""
        path = Path(path)
        try:
            data = (path / "config").read_bytes() if (path / "config").is_file() else None
        except OSError as error:
            raise NotFound("not an ostree repository", path=str(path)) from error
        if data is None or not (path / "objects").is_dir():
            raise NotFound("not an ostree repository", path=str(path))
        return cls(path, parse_config(data))

    @property
    def mode(self) -> str:
        """One of config.MODES."""
        return self.config.mode

    def refs(self) -> dict[str, bytes]:
        """Local branches by name, and remote ones as `remote:branch`. Raises FormatError, StorageError.

        Files that other programs are still writing there are not refs: stock ostree passes over names that no ref can
        have, and a `.part` without a checksum in it is one of those, too.
        """
        found = {}
        for base, separator in (("refs/heads", ""), ("refs/remotes", ":")):
            root = self.path / base
            for file in sorted(root.rglob("*")):
                name = str(file.relative_to(root))
                if is_ref(name) and (commit := _ref_file(file, name)) is not None:
                    found[name.replace("/", separator, 1) if separator else name] = commit
        return found

    def resolve(self, rev: str) -> bytes:
        """A branch, `remote:branch`, full checksum, each with any number of `^` for the parent -> raw checksum."""
        name = rev.rstrip("^")
        commit = bytes.fromhex(name) if is_checksum(name) else self._ref(name)
        for _ in range(len(rev) - len(name)):
            parent = Commit.decode(self.metadata(ObjectName(ObjectType.COMMIT, commit))).parent
            if parent is None:
                raise NotFound("commit has no parent", commit=commit.hex())
            commit = parent
        return commit

    def has(self, name: ObjectName) -> bool:
        return os.path.lexists(self._path(name))

    def metadata(self, name: ObjectName) -> bytes:
        """A dirtree, dirmeta or commit, verified. Raises ObjectMissing, DigestMismatch, LimitExceeded."""
        data = self._read(name)
        check_metadata(name, data)
        return data

    def commitmeta(self, commit: bytes) -> bytes | None:
        """Detached metadata of a commit, as stored (nothing to verify it by)."""
        try:
            return self._read(ObjectName(ObjectType.COMMITMETA, commit))
        except ObjectMissing:
            return None

    def is_partial(self, commit: bytes) -> bool:
        """Whether ostree marked the commit as incomplete."""
        return partial_path(self.path, commit).exists()

    @contextlib.contextmanager
    def open_file(self, checksum: bytes) -> Iterator[FileObject]:
        """A file object; see FileObject. Raises ObjectMissing, FormatError, StorageError."""
        name = ObjectName(ObjectType.FILE, checksum)
        with contextlib.ExitStack() as stack:
            header, size, chunks = self._opened(name, stack)
            yield FileObject(header, size, verified(name, header, chunks))

    def open_stored(self, checksum: bytes) -> BinaryIO:
        """For archive repositories: the `.filez` as it lies there, *not* verified. Raises as `open_file`."""
        return self._open(ObjectName(ObjectType.FILE, checksum))

    @contextlib.contextmanager
    def filez(self, checksum: bytes) -> Iterator[tuple[FileHeader, int, BinaryIO]]:
        """For archive repositories: header, size of the content, and the file, standing where deflate begins.

        The stream is *not* verified here.
        """
        with self._open(ObjectName(ObjectType.FILE, checksum)) as file:
            header, size = read_filez_header(file)
            yield header, size, file

    def _opened(self, name: ObjectName, stack: contextlib.ExitStack) -> tuple[FileHeader, int, Iterator[bytes]]:
        path = self._path(name)
        if self.mode == "archive":
            file = stack.enter_context(self._open(name))
            header, size = read_filez_header(file)
            return header, size, iter(()) if header.is_symlink else inflate(file, size)
        with _object_errors(name):
            header = read_bare_header(path, path.lstat(), self.mode)
        if header.is_symlink:
            return header, 0, iter(())
        file = stack.enter_context(self._open(name))
        return header, os.fstat(file.fileno()).st_size, _blocks(file)

    def _ref(self, name: str) -> bytes:
        remote, colon, branch = name.rpartition(":")
        relative = f"refs/remotes/{check_ref(remote)}/{check_ref(branch)}" if colon else f"refs/heads/{check_ref(name)}"
        commit = _ref_file(self.path / relative, name)
        if commit is None:
            raise NotFound("no such ref in the repository", ref=name, path=str(self.path))
        return commit

    def _path(self, name: ObjectName) -> Path:
        return self.path / loose_path(name, self.mode)

    def _open(self, name: ObjectName) -> BinaryIO:
        with _object_errors(name):
            return open_regular(self._path(name))

    def _read(self, name: ObjectName) -> bytes:
        with self._open(name) as file:
            data = file.read(MAX_METADATA + 1)
        if len(data) > MAX_METADATA:
            raise LimitExceeded("metadata object is too large", object=str(name), limit=MAX_METADATA)
        return data


def verified(name: ObjectName, header: FileHeader, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks of a file as they come; after the last one DigestMismatch, if they are not what the name promises."""
    hasher = hashlib.sha256(header.prefix())
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.digest() != name.checksum:
        raise DigestMismatch("file object does not match its name", expected=str(name), found=hasher.hexdigest())


def partial_path(repository: Path, commit: bytes) -> Path:
    """Where stock ostree marks a commit of which objects may be missing."""
    return repository / "state" / f"{commit.hex()}.commitpartial"


def _ref_file(file: Path, name: str) -> bytes | None:
    """The commit that a file below `refs` names; None where it is gone meanwhile, no file, or still being written."""
    try:
        if not file.is_file():
            return None
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError("ref cannot be read", ref=name, reason=os.strerror(error.errno or 0)) from error
    if name.endswith(".part") and not is_checksum(data.decode("ascii", "replace").strip()):
        return None
    return parse_ref_file(data, name)


@contextlib.contextmanager
def _object_errors(name: ObjectName) -> Iterator[None]:
    """Name the object that the operating system refuses."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing("object is not in the repository", object=str(name)) from error
    except OSError as error:
        raise StorageError("object cannot be read", object=str(name), reason=os.strerror(error.errno or 0)) from error


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block
