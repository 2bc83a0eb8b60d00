"""Verify, check out, roll back and clean an ostree repository.

Cleaning touches only what commits brought by our own pulls need and nothing else does: other commits, refs, partial
commits and their parents are left alone, so it is safe on a repository that other tools use too.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smidgen_client.names import RefName
from smidgen_client.progress import Progress
from smidgen_client.state.stores import Install
from smidgen_client.stores.base import Problem, Removed, Verified
from smidgen_client.stores.extracting import extract_into
from smidgen_client.targets.ostree import OstreeTarget
from smidgen_deltas.errors import NotFound, SmidgenError
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, ObjectName, ObjectType, loose_path
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_lock import repository_lock
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_deltas.ostree.walk import paths
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.pieces import Content


@dataclass(frozen=True, slots=True)
class OstreeStore:
    """See stores.base.Store. `ref`: the branch that the newest pull set, with its remote in front if it had one."""

    path: Path
    ref: str | None

    @property
    def lock(self) -> Path:
        return OstreeTarget(self.path).lock

    def current(self) -> str | None:
        found = self._resolved()
        return found[1].hex() if found else None

    def _resolved(self) -> tuple[str, bytes] | None:
        """The full name of our branch (`remote:branch` where it is filed under a remote) and its commit."""
        refs = Repository.open(self.path).refs()
        for name, commit in refs.items():
            if self.ref is not None and (name == self.ref or name.endswith(f":{self.ref}")):
                return name, commit
        return None

    def verify(self, progress: Progress) -> Verified:
        repository = Repository.open(self.path)
        problems: list[Problem] = []
        commits = dict.fromkeys(repository.refs().values())
        needed = [name for name in _reach(repository, commits, problems) if name.type is ObjectType.FILE]
        progress.begin("verifying", len(needed), "files")
        total = 0
        for name in needed:
            try:
                with repository.open_file(name.checksum) as opened:
                    for block in opened.chunks:
                        total += len(block)
            except (SmidgenError, OSError) as error:
                problems.append(Problem(str(name), str(error)))
            progress.advance(1)
        progress.end()
        return Verified(len(needed), total, tuple(problems))

    def checkout(self, revision: str, folder: Path) -> int:
        repository = Repository.open(self.path)
        commit = repository.resolve(revision)
        sources: dict[bytes, bytes] = {}
        entries = list(_entries(repository, commit, sources))

        def open_content(content: Content) -> Iterator[bytes]:
            with repository.open_file(sources[content.sha256]) as opened:
                yield from opened.chunks

        return extract_into(folder, entries, open_content)

    def rollback(self, to: Install) -> None:
        commit = bytes.fromhex(to.stored)
        writer = RepositoryWriter.open_or_create(self.path)
        if not writer.repository.has(ObjectName(ObjectType.COMMIT, commit)):
            raise NotFound("the repository no longer has the commit", commit=to.stored)
        found = self._resolved()
        remote, _, branch = (found[0] if found else RefName.parse(to.ref).ref).rpartition(":")
        with writer.transaction() as transaction:
            transaction.set_ref(branch, commit, remote or None)
            transaction.commit()

    def clean(self, keep: Collection[str], known: Collection[str], *, dry_run: bool) -> Removed:
        repository = Repository.open(self.path)
        with repository_lock(repository, exclusive=True):  # as `ostree prune` does
            every = set(_commits(repository))
            held = set(repository.refs().values()) | {bytes.fromhex(one) for one in keep}
            drop = {bytes.fromhex(one) for one in known} & every - held
            kept = set(_reach(repository, every - drop, []))
            doomed = [name for name in dict.fromkeys(_reach(repository, drop, [])) if name not in kept]
            doomed += [ObjectName(ObjectType.COMMITMETA, commit) for commit in drop]
            doomed.sort(key=lambda name: name.type is not ObjectType.COMMIT)  # never a commit without its files
            count = size = 0
            for name in doomed:
                path = self.path / loose_path(name, repository.mode)
                try:
                    size += path.lstat().st_size
                    if not dry_run:
                        path.unlink()
                    count += 1
                except FileNotFoundError:
                    continue
        return Removed(tuple(sorted(one.hex() for one in drop)), count, size)


def _commits(repository: Repository) -> Iterator[bytes]:
    for path in (repository.path / "objects").glob("??/*.commit"):
        yield bytes.fromhex(path.parent.name + path.stem)


def _reach(repository: Repository, commits: Iterable[bytes], problems: list[Problem]) -> Iterator[ObjectName]:
    """Every object that is reached, each once; metadata that cannot be read is a problem and ends its branch."""
    seen: set[ObjectName] = set()
    stack = [ObjectName(ObjectType.COMMIT, commit) for commit in commits]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name.type is ObjectType.FILE:
            continue
        try:
            stack += _children(name, repository.metadata(name))
        except SmidgenError as error:
            problems.append(Problem(str(name), str(error)))


def _children(name: ObjectName, data: bytes) -> list[ObjectName]:
    if name.type is ObjectType.COMMIT:
        commit = Commit.decode(data)
        return [ObjectName(ObjectType.DIRTREE, commit.root_tree), ObjectName(ObjectType.DIRMETA, commit.root_meta)]
    if name.type is ObjectType.DIRMETA:
        return []
    tree = DirTree.decode(data)
    found = [ObjectName(ObjectType.FILE, checksum) for _, checksum in tree.files]
    for _, child, meta in tree.dirs:
        found += [ObjectName(ObjectType.DIRTREE, child), ObjectName(ObjectType.DIRMETA, meta)]
    return found


def _entries(repository: Repository, commit: bytes, sources: dict[bytes, bytes]) -> Iterator[Entry]:
    """The paths of a commit; `sources` learns which object has a content."""
    for path, name, meta in paths(repository.metadata, commit):
        raw = os.fsencode(path)
        if meta is not None:
            found = DirMeta.decode(repository.metadata(ObjectName(ObjectType.DIRMETA, meta)))
            attributes = tuple((key.rstrip(b"\0"), value) for key, value in found.xattrs)
            yield Entry(raw, MemberType.DIRECTORY, stat.S_IMODE(found.mode), found.uid, found.gid, 0, attributes)
            continue
        with repository.open_file(name.checksum) as opened:
            header = opened.header
            hasher, size = hashlib.sha256(), 0
            for block in opened.chunks:
                hasher.update(block)
                size += len(block)
        content = Content(size, hasher.digest()) if size else None
        if content is not None:
            sources[content.sha256] = name.checksum
        yield Entry(
            path=raw,
            type=MemberType.SYMLINK if header.is_symlink else MemberType.FILE,
            mode=stat.S_IMODE(header.mode),
            uid=header.uid,
            gid=header.gid,
            mtime_ns=0,
            xattrs=tuple((key.rstrip(b"\0"), value) for key, value in header.xattrs),
            linkname=os.fsencode(header.target),
            size=size,
            content=content,
        )
