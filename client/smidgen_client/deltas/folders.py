"""Folders as sides of a delta: seen as the tar of them, which says the same whenever it is made of the same folder.

The tar is PAX with members sorted by name, numeric owners, times to the nanosecond and extended attributes in
`SCHILY.xattr.*`, after a global header whose comment marks it, so that a delta to a folder is applied to a folder.
It is nowhere as a whole: contents stay where they are in the folder.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.deltas.maps import BLOCK, Place, place_blocks, read_place
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound, StorageError, UsageError
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.tar.pieces import Literal, Piece

MARK: Final = "smidgen folder 1"
HEAD: Final = 1024  # of a tar: the global header and its record
SECOND: Final = 1_000_000_000
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TYPES: Final = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


def tar_blocks(folder: Path) -> Iterator[bytes]:
    """The tar of a folder; sockets, which no tar holds, are left out. Raises StorageError, UsageError."""
    size = 0
    try:
        for block in _members(folder):
            size += len(block)
            yield block
    except OSError as error:
        path = str(error.filename or folder)
        raise StorageError("folder cannot be read", path=path, reason=error.strerror or str(error)) from error
    except ValueError as error:
        raise UsageError("folder holds what no tar does", path=str(folder), reason=str(error)) from error
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


@dataclass(frozen=True, slots=True)
class File:
    """Where in the folder a content is, and the time of its last change, in nanoseconds."""

    path: bytes
    mtime_ns: int


class FolderFiles:
    """Contents in the files of a folder, by digest, as long as those are what they were when it was read."""

    def __init__(self, folder: Path, files: Mapping[bytes, File]) -> None:
        self._folder = folder
        self._files = files

    def has(self, sha256: bytes) -> bool:
        return sha256 in self._files

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound, StorageError."""
        handle = self._open(content)
        try:
            data = read_place(handle, Place(0, content.size))
        finally:
            os.close(handle)
        if len(data) != content.size:
            raise NotFound("a file became shorter", digest=content.sha256.hex())
        return data

    def blocks(self, content: ContentRef) -> Iterator[bytes]:
        """The same bytes, in blocks. Raises as `open`."""
        handle = self._open(content)
        try:
            yield from place_blocks(handle, Place(0, content.size))
        finally:
            os.close(handle)

    def _open(self, content: ContentRef) -> int:
        file = self._files.get(content.sha256)
        if file is None:
            raise NotFound("content is not in this folder", digest=content.sha256.hex())
        path = self._folder / os.fsdecode(file.path)
        try:
            handle = os.open(path, _READ)
        except OSError as error:
            raise StorageError("file cannot be read", path=str(path), reason=error.strerror) from error
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or (facts.st_size, facts.st_mtime_ns) != (content.size, file.mtime_ns):
            os.close(handle)
            raise StorageError("a file changed while it was in use", path=str(path))
        return handle


def _members(folder: Path) -> Iterator[bytes]:
    """Headers and contents, parents first."""
    yield tarfile.TarInfo.create_pax_global_header({"comment": MARK})
    links: dict[tuple[int, int], str] = {}
    waiting = [(folder, "./")]
    while waiting:
        path, name = waiting.pop()
        facts = path.lstat()
        kind = _TYPES.get(stat.S_IFMT(facts.st_mode))
        if kind is None:
            continue
        info = _info(path, name, facts, kind, links)
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg():
            yield from _body(path, info.size)
        elif info.isdir():
            below = sorted(path.iterdir(), key=_name, reverse=True)
            waiting += ((one, f"{name.rstrip('/')}/{one.name}") for one in below)


def _name(path: Path) -> str:
    return path.name


def _info(
    path: Path, name: str, facts: os.stat_result, kind: bytes, links: dict[tuple[int, int], str]
) -> tarfile.TarInfo:
    """With the nanoseconds and extended attributes that tarfile leaves out, without the names of owners.

    links: files with several names, so far.
    """
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = facts.st_mode, facts.st_uid, facts.st_gid
    info.mtime, info.type = facts.st_mtime, kind
    info.pax_headers = {"mtime": f"{facts.st_mtime_ns // SECOND}.{facts.st_mtime_ns % SECOND:09}"}
    if kind == tarfile.REGTYPE:
        first = links.setdefault((facts.st_ino, facts.st_dev), name) if facts.st_nlink > 1 else name
        if first != name:
            info.type, info.linkname = tarfile.LNKTYPE, first
            return info
        info.size = facts.st_size
    elif kind == tarfile.SYMTYPE:
        info.linkname = os.readlink(path)  # noqa: PTH115 - a Path is not what was written
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, attribute, follow_symlinks=False)
        info.pax_headers[f"SCHILY.xattr.{attribute}"] = value.decode("utf-8", "surrogateescape")
    return info


def _body(path: Path, size: int) -> Iterator[bytes]:
    handle = os.open(path, _READ)
    try:
        left = size
        while left:
            block = os.read(handle, min(BLOCK, left))
            if not block:
                raise StorageError("a file became shorter while it was read", path=str(path))
            left -= len(block)
            yield block
    finally:
        os.close(handle)
    if size % tarfile.BLOCKSIZE:
        yield bytes(-size % tarfile.BLOCKSIZE)


def is_folder(pieces: Iterable[Piece]) -> bool:
    """Whether a tar is one of `tar_blocks`. Raises FormatError."""
    first = next(iter(pieces), None)
    return isinstance(first, Literal) and f"comment={MARK}\n".encode() in first.data[:HEAD]
