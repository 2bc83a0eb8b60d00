"""What a disk may hold after a power cut: a model of files and folders of which only what was synced is certain.

The trace of the fault shim is replayed on it. A file has bytes that were written and bytes that are durable (those at
its last fsync, or at the last syncfs); a folder has names that were made and names that are durable, likewise. After a
cut each file and each folder may be in either state, or in between, each by itself: POSIX promises no order.
"""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_RECORD: Final = struct.Struct("=cQQQIII")


@dataclass
class File:
    """A regular file (data) or a symlink (target)."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    target: str | None = None

    def sync(self) -> None:
        self.durable = bytes(self.data)


@dataclass
class Folder:
    mode: int
    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)

    def sync(self) -> None:
        self.durable = dict(self.names)


@dataclass(frozen=True, slots=True)
class Change:
    """A record of the trace, see shim/fault_shim.c."""

    kind: str
    inode: int
    at: int
    mode: int
    path: str
    other: str
    data: bytes


def read_trace(path: Path) -> list[Change]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        kind, inode, where, mode, *sizes = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        found.append(Change(kind.decode(), inode, where, mode, os.fsdecode(parts[0]), os.fsdecode(parts[1]), parts[2]))
    return found


class Disk:
    """The file system below `root` as it is now, all of it durable; `apply` replays changes."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, File] = {}
        self.top = self._load(root)

    def _load(self, path: Path) -> Folder:
        folder = Folder(stat.S_IMODE(path.stat().st_mode))
        for one in path.iterdir():
            status = one.lstat()
            if stat.S_ISDIR(status.st_mode):
                folder.names[one.name] = self._load(one)
            elif status.st_ino in self._files:
                folder.names[one.name] = self._files[status.st_ino]
            else:
                folder.names[one.name] = self._files[status.st_ino] = _load_file(one, status)
        folder.sync()
        return folder

    def apply(self, change: Change) -> None:
        """Replay one change. KeyError: the trace lacks something, so the shim missed a call."""
        match change.kind:
            case "O":
                file = self._files[change.inode] = File(stat.S_IMODE(change.mode))
                if change.path:
                    self._name(change.path, file)
            case "W":
                data = self._files[change.inode].data
                if len(data) < change.at:
                    data.extend(bytes(change.at - len(data)))
                data[change.at : change.at + len(change.data)] = change.data
            case "T":
                data = self._files[change.inode].data
                del data[change.at :]
                data.extend(bytes(change.at - len(data)))
            case "F":
                (self._files.get(change.inode) or self._folder(change.path)).sync()
            case "S":
                self._sync_all(self.top)
                for file in self._files.values():
                    file.sync()
            case "R":
                self._rename(change.path, change.other)
            case "L":
                self._name(change.path, self._files[change.inode])
            case "Y":
                self._name(change.path, File(0o777, target=change.other))
            case "U":
                folder, name = self._at(change.path)
                del folder.names[name]
            case "D":
                self._name(change.path, Folder(stat.S_IMODE(change.mode)))
            case "M":
                self._chmod(change)
            case "X":
                if change.inode in self._files:
                    self._files[change.inode].xattrs[change.other] = change.data
            case _:
                raise KeyError(change.kind)

    def _chmod(self, change: Change) -> None:
        if change.inode in self._files:
            self._files[change.inode].mode = stat.S_IMODE(change.mode)
            return
        folder, name = self._at(change.path)
        folder.names[name].mode = stat.S_IMODE(change.mode)

    def _rename(self, old: str, new: str) -> None:
        if not new.startswith(self._root + "/"):  # it leaves what we watch
            folder, name = self._at(old)
            del folder.names[name]
            return
        folder, name = self._at(old)
        self._name(new, folder.names.pop(name))

    def _name(self, path: str, found: File | Folder) -> None:
        folder, name = self._at(path)
        folder.names[name] = found

    def _at(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        return self._folder(parent), name

    def _folder(self, path: str) -> Folder:
        at: File | Folder = self.top
        for part in [one for one in path.removeprefix(self._root).split("/") if one not in ("", ".")]:
            assert isinstance(at, Folder)
            at = at.names[part]
            if isinstance(at, File) and at.target is not None:
                raise KeyError(f"{path} goes through a symlink")
        assert isinstance(at, Folder)
        return at

    def _sync_all(self, folder: Folder) -> None:
        folder.sync()
        for one in folder.names.values():
            if isinstance(one, Folder):
                self._sync_all(one)


def _load_file(path: Path, status: os.stat_result) -> File:
    file = File(stat.S_IMODE(status.st_mode))
    if stat.S_ISLNK(status.st_mode):
        file.target = str(path.readlink())
        return file
    file.data += path.read_bytes()
    file.xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    file.sync()
    return file


Choose = Callable[[], str]


def only_synced() -> Choose:
    """Only what was synced."""
    return lambda: "durable"


def names_first() -> Choose:
    """All names, but only the bytes that were synced: names came to the disk before bytes did."""
    return lambda: "names"


def mixed(seed: int) -> Choose:
    """Each file and folder by chance in one of its states."""
    rng = random.Random(seed)
    return lambda: rng.choice(("durable", "live", "half"))


def write_out(disk: Disk, target: Path, choose: Choose) -> None:
    """Make the files that a cut now may leave; `target` must not exist."""
    made: dict[int, Path] = {}
    _write_folder(disk.top, target, choose, made)


def _write_folder(folder: Folder, path: Path, choose: Choose, made: dict[int, Path]) -> None:
    path.mkdir()
    choice = choose()
    names = folder.durable if choice == "durable" else folder.names
    if choice == "half":
        names = {**folder.durable, **dict(list(folder.names.items())[::2])}
    for name, one in names.items():
        if isinstance(one, Folder):
            _write_folder(one, path / name, choose, made)
        elif id(one) in made:
            os.link(made[id(one)], path / name, follow_symlinks=False)
        else:
            _write_file(one, path / name, choose())
            made[id(one)] = path / name
    path.chmod(folder.mode or 0o755)


def _write_file(file: File, path: Path, choice: str) -> None:
    if file.target is not None:
        path.symlink_to(file.target)
        return
    data = bytes(file.data) if choice == "live" else file.durable
    if choice == "half":
        data = bytes(file.data[: len(file.data) // 2]) + file.durable[len(file.data) // 2 :]
    path.write_bytes(data)
    for name, value in file.xattrs.items():
        os.setxattr(path, name, value)
    path.chmod(file.mode)


def sync_points(changes: list[Change]) -> Iterator[int]:
    """Numbers of changes right before which a cut is most telling: before each sync, and after it, and at the end."""
    for number, change in enumerate(changes):
        if change.kind in "FSR":
            yield number
            yield number + 1
    yield len(changes)
