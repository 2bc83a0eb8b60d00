"""Everything below a commit, as the index has it: proof that nothing is missing, and material for the tree document.

Metadata is loaded breadth-first, one query per thousand objects; the lists are then made by a depth-first walk,
parents before children, which is the order that the tree document wants. Memory: the metadata objects of one commit
and some 300 bytes per file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from smidgen_deltas.errors import NotFound
from smidgen_deltas.ostree.objects import Commit, DirTree, ObjectType
from smidgen_deltas.ostree.walk import Bootable, bootable, closure
from smidgen_server.index import ostree
from smidgen_server.index.batches import batches
from smidgen_server.index.ostree import Name, StoredFile

KERNELS: Final = re.compile(r"usr/lib/modules/|usr/lib/ostree-boot/|boot/")


class ObjectMissing(NotFound):
    """A commit needs an object that the repository does not have."""

    code, status = "MANIFEST_BLOB_UNKNOWN", 409
    hint = "Push the missing object, then set the ref again."


@dataclass(frozen=True, slots=True)
class Closure:
    """A complete commit: its metadata objects by checksum and its files, depth-first, each once. boot: what it would
    boot, None for a tree without a kernel where ostree looks for one."""

    commit: Commit
    body: bytes
    dirtrees: Mapping[bytes, bytes]
    dirmetas: Mapping[bytes, bytes]
    files: Mapping[bytes, StoredFile]
    boot: Bootable | None


def load_closure(session: Session, repo_id: int, checksum: bytes) -> Closure:
    """Raises ObjectMissing with the type and checksum of an object that is not there."""
    name = (ObjectType.COMMIT, checksum)
    bodies = _bodies(session, repo_id, [name])
    commit = Commit.decode(bodies[name])
    bodies.update(_load_metadata(session, repo_id, commit))
    found: dict[ObjectType, dict[bytes, bytes]] = {kind: {} for kind in ObjectType}
    files: list[bytes] = []
    paths: list[str] = []
    for visited in closure(lambda wanted: bodies[(wanted.type, wanted.checksum)], checksum):
        if visited.data is None:
            files.append(visited.name.checksum)
            paths += [visited.path] if KERNELS.match(visited.path) else []
        else:
            found[visited.name.type][visited.name.checksum] = visited.data
    return Closure(
        commit=commit,
        body=bodies[name],
        dirtrees=found[ObjectType.DIRTREE],
        dirmetas=found[ObjectType.DIRMETA],
        files=_load_files(session, repo_id, files),
        boot=bootable(paths),
    )


def load_names(session: Session, repo_id: int, checksum: bytes, found: set[Name]) -> None:
    """Add the names of all objects below a commit to `found`; dirtrees that are there already are not entered."""
    body = _bodies(session, repo_id, [(ObjectType.COMMIT, checksum)])[(ObjectType.COMMIT, checksum)]
    commit = Commit.decode(body)
    frontier: list[Name] = [(ObjectType.DIRTREE, commit.root_tree), (ObjectType.DIRMETA, commit.root_meta)]
    while frontier:
        fresh = [name for name in dict.fromkeys(frontier) if name not in found]
        found.update(fresh)
        frontier = []
        for part in batches(name for name in fresh if name[0] == ObjectType.DIRTREE):
            for data in _bodies(session, repo_id, part).values():
                tree = DirTree.decode(data)
                found.update((ObjectType.FILE, file) for _, file in tree.files)
                frontier += children(tree)


def _load_metadata(session: Session, repo_id: int, commit: Commit) -> dict[Name, bytes]:
    bodies: dict[Name, bytes] = {}
    frontier: list[Name] = [(ObjectType.DIRTREE, commit.root_tree), (ObjectType.DIRMETA, commit.root_meta)]
    while frontier:
        found: dict[Name, bytes] = {}
        for part in batches(frontier):
            found.update(_bodies(session, repo_id, part))
        bodies.update(found)
        below: dict[Name, None] = {}
        for (kind, _), body in found.items():
            if kind == ObjectType.DIRTREE:
                below.update(dict.fromkeys(children(DirTree.decode(body))))
        frontier = [name for name in below if name not in bodies]
    return bodies


def children(tree: DirTree) -> Iterator[Name]:
    """Metadata objects that a dirtree names, some perhaps more than once."""
    for _, subtree, meta in tree.dirs:
        yield (ObjectType.DIRTREE, subtree)
        yield (ObjectType.DIRMETA, meta)


def _bodies(session: Session, repo_id: int, names: Collection[Name]) -> dict[Name, bytes]:
    found = ostree.visible_bodies(session, repo_id, names)
    for kind, checksum in names:
        if (kind, checksum) not in found:
            raise ObjectMissing("an object is missing", type=ObjectType(kind).name.lower(), checksum=checksum.hex())
    return found


def _load_files(session: Session, repo_id: int, checksums: Collection[bytes]) -> dict[bytes, StoredFile]:
    found = {one.checksum: one for one in ostree.files(session, repo_id, ObjectType.FILE, checksums)}
    for checksum in checksums:
        if checksum not in found:
            raise ObjectMissing("an object is missing", type="file", checksum=checksum.hex())
    return {checksum: found[checksum] for checksum in checksums}
