"""Verify, check out, roll back and clean a folder with versions.

Beside each version lies its tree document; it names every path with its attributes and digests, so a version can be
checked against exactly what the signed ref document named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.progress import Progress
from smidgen_client.state.stores import Install
from smidgen_client.stores.base import Problem, Removed, Verified
from smidgen_client.stores.extracting import extract_into
from smidgen_client.targets.share import has_content
from smidgen_client.targets.tree import VERSIONS, TreeTarget, load_tree, remove_tree
from smidgen_client.targets.tree_entries import entries_of
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.pieces import Content

BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class TreeStore:
    """See stores.base.Store."""

    path: Path

    @property
    def _target(self) -> TreeTarget:
        return TreeTarget(self.path)

    @property
    def lock(self) -> Path:
        return self._target.lock

    def current(self) -> str | None:
        return self._target.linked()

    def verify(self, progress: Progress) -> Verified:
        revision = self.current()
        if revision is None:
            raise NotFound("the folder has no current version", path=str(self.path))
        entries = self._entries(revision)
        root = os.fsencode(self._target.version(revision))
        problems: list[Problem] = []
        progress.begin("verifying", len(entries), "files")
        expected = {entry.path for entry in entries} | {b""}
        for entry in entries:
            if reason := _wrong(os.path.join(root, entry.path), entry):  # noqa: PTH118 - bytes
                problems.append(Problem(os.fsdecode(entry.path), reason))
            progress.advance(1)
        problems += [Problem(os.fsdecode(path), "does not belong here") for path in _extra(root, expected)]
        progress.end()
        size = sum(entry.content.size for entry in entries if entry.content)
        return Verified(len(entries), size, tuple(problems))

    def _entries(self, revision: str) -> list[Entry]:
        return entries_of(load_tree(self._target, revision), Digest("sha256", revision))

    def checkout(self, revision: str, folder: Path) -> int:
        name = revision.removeprefix("sha256:")
        entries = self._entries(name)
        root = os.fsencode(self._target.version(name))
        paths = {entry.content.sha256: entry.path for entry in entries if entry.content and entry.sparse is None}

        def open_content(content: Content) -> Iterator[bytes]:
            with open(os.path.join(root, paths[content.sha256]), "rb") as file:  # noqa: PTH118 - bytes
                while block := file.read(BLOCK):
                    yield block

        return extract_into(folder, entries, open_content)

    def rollback(self, to: Install) -> None:
        if not self._target.version(to.stored).is_dir():
            raise NotFound("the folder no longer has the version", version=to.stored)
        self._target.switch(to.stored)

    def clean(self, keep: Collection[str], known: Collection[str], *, dry_run: bool) -> Removed:  # noqa: ARG002
        held = {*keep, self._target.linked()}
        removed: list[str] = []
        count = size = 0
        for path in sorted((self.path / VERSIONS).iterdir()):
            if path.name.removesuffix(".tree") in held:
                continue
            for file in _files(path):
                status = os.lstat(file)
                count, size = count + 1, size + (status.st_size if status.st_nlink == 1 else 0)
            if path.is_dir():
                removed.append(path.name)
                if not dry_run:
                    remove_tree(path)
            elif not dry_run:
                path.unlink()
        return Removed(tuple(removed), count, size)


def _wrong(path: bytes, entry: Entry) -> str:
    """What is wrong with one path, or ""."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return error.strerror or str(error)
    kinds = {MemberType.DIRECTORY: stat.S_ISDIR, MemberType.SYMLINK: stat.S_ISLNK, MemberType.FILE: stat.S_ISREG}
    check = kinds.get(entry.type)
    if check is not None and not check(status.st_mode):
        return "is of another type"
    if entry.type is MemberType.SYMLINK:
        return "" if os.readlink(path) == entry.linkname else "points elsewhere"  # noqa: PTH115 - bytes
    if entry.type not in (MemberType.FILE, MemberType.DIRECTORY):
        return ""
    mode = entry.mode if os.geteuid() == 0 else entry.mode & ~0o6000
    if stat.S_IMODE(status.st_mode) & ~0o6000 != mode & ~0o6000:
        return f"has mode {stat.S_IMODE(status.st_mode):o} instead of {mode:o}"
    if entry.content is not None and entry.sparse is None and not has_content(path, entry.content):
        return "has other bytes"
    return "" if entry.type is MemberType.DIRECTORY or status.st_size == entry.size else "has another size"


def _extra(root: bytes, expected: set[bytes]) -> Iterator[bytes]:
    """Paths below `root` that are not expected."""
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - bytes
            if path not in expected:
                yield path


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)  # noqa: PTH118
