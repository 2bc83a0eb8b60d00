"""What a directory tree holds, in a form that two trees can be compared in."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OnDisk:
    """One path. `mtime_ns` is 0 for directories unless asked for; `same` is the first path of its inode."""

    mode: int
    owner: tuple[int, int]
    device: int
    mtime_ns: int
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    same: str


def look(root: Path, *, directory_times: bool = True) -> dict[str, OnDisk]:
    """Everything beneath `root`, and the root itself as "."; contents of files as their sha256, of symlinks as text."""
    result: dict[str, OnDisk] = {}
    firsts: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        info = path.lstat()
        name = str(path.relative_to(root))
        content = b""
        if stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).digest()
        elif stat.S_ISLNK(info.st_mode):
            content = os.fsencode(path.readlink())
        attributes = sorted(os.listxattr(path, follow_symlinks=False))
        result[name] = OnDisk(
            mode=info.st_mode,
            owner=(info.st_uid, info.st_gid),
            device=info.st_rdev,
            mtime_ns=info.st_mtime_ns if directory_times or not stat.S_ISDIR(info.st_mode) else 0,
            content=content,
            xattrs=tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in attributes),
            same=firsts.setdefault(info.st_ino, name),
        )
    return result
