"""Commits as tree documents (native.tree): metadata objects whole, files by header and content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.tree import ContentRef, FileEntry, OstreeTree
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import closure


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file object: its checksum, encoded header, and content (None for symlinks and empty files)."""

    checksum: bytes
    header: bytes
    content: ContentRef | None


def commit_tree(
    commit: bytes,
    commitmeta: bytes | None,
    dirtrees: Iterable[bytes],
    dirmetas: Iterable[bytes],
    files: Iterable[TreeFile],
) -> OstreeTree:
    """The tree of a commit; all objects in the order of `walk.closure`, contents in that of their first use."""
    headers: dict[bytes, int] = {}
    contents: dict[ContentRef, int] = {}
    entries = tuple(
        FileEntry(
            file.checksum,
            headers.setdefault(file.header, len(headers)),
            -1 if file.content is None else contents.setdefault(file.content, len(contents)),
        )
        for file in files
    )
    return OstreeTree(commit, commitmeta, tuple(dirtrees), tuple(dirmetas), tuple(headers), entries, tuple(contents))


def read_commit(repo: Repository, commit: bytes) -> OstreeTree:
    """The tree of a commit in a local repository; every file of it is read and verified.

    Raises NotFound when an object is missing, FormatError, IntegrityError, StorageError.
    """
    if repo.is_partial(commit):
        raise NotFound("the commit is not complete in this repository", commit=commit.hex(), path=str(repo.path))
    found: dict[ObjectType, list[bytes]] = {kind: [] for kind in ObjectType}
    files = []
    for visited in closure(repo.metadata, commit):
        if visited.data is None:
            files.append(_file(repo, visited.name))
        else:
            found[visited.name.type].append(visited.data)
    return commit_tree(
        found[ObjectType.COMMIT][0],
        repo.commitmeta(commit),
        found[ObjectType.DIRTREE],
        found[ObjectType.DIRMETA],
        files,
    )


def _file(repo: Repository, name: ObjectName) -> TreeFile:
    with repo.open_file(name.checksum) as opened:
        hasher, size = hashlib.sha256(), 0
        for chunk in opened.chunks:
            hasher.update(chunk)
            size += len(chunk)
        return TreeFile(name.checksum, opened.header.encode(), ContentRef(hasher.digest(), size) if size else None)
