"""Applying a static delta: everything is checked before the first object, every object as it is made, the tree at last.

1. The source commit is there, and so are the fallback objects; a delta alone does not bring these.
2. Every part is unpacked and its operations are read.
3. Parts are carried out, in order, into a transaction, which compares each object with its name.
4. The commit's tree is complete. Only then is the commit put.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from smidgen_deltas.errors import NotFound
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.static.part import open_part
from smidgen_deltas.ostree.static.replay import ObjectStore, replay
from smidgen_deltas.ostree.static.superblock import Superblock
from smidgen_deltas.ostree.walk import closure

SHOWN: Final = 5  # objects named in an error


class SourceMissing(NotFound):
    """The commit that a delta starts from is not in the repository."""

    code = "BLOB_UNKNOWN"
    hint = "Pull the commit that the delta starts from, or ask for a delta from nothing."


class FallbackMissing(NotFound):
    """A delta leaves out objects that have to be fetched by themselves."""

    code = "BLOB_UNKNOWN"
    hint = "Fetch the named objects first, or ask for a delta without fallback objects (ours have none)."


class Incomplete(NotFound):
    """A delta does not bring all objects of its commit."""

    code = "BLOB_UNKNOWN"
    hint = "The delta was made for another starting point or is faulty. Nothing was changed; pull the objects instead."


class Target(ObjectStore, Protocol):
    """What a delta is applied to; `repo_writer.Transaction` is one."""

    def metadata(self, name: ObjectName) -> bytes: ...
    def put_commitmeta(self, commit: bytes, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Applied:
    """commit: raw checksum; objects: how many the delta lists."""

    commit: bytes
    objects: int


def apply_delta(superblock: Superblock, part: Callable[[int], bytes | memoryview], target: Target) -> Applied:
    """Put all objects of a delta into a transaction; committing it is the caller's.

    Args:
        part: gives the bytes of a part by number, compared with the superblock (`files.DeltaFiles.part`).
    Raises SourceMissing, FallbackMissing, Incomplete, FormatError, IntegrityError, StorageError.
    """
    _check_start(superblock, target)
    if len(superblock.parts) > 1:
        for number, entry in enumerate(superblock.parts):
            open_part(part(number), entry)
    for number, entry in enumerate(superblock.parts):
        replay(open_part(part(number), entry), entry.objects, target)
    commit = superblock.name.target
    _check_tree(superblock, target)
    commitmeta = superblock.commitmeta()
    target.put_metadata(ObjectName(ObjectType.COMMIT, commit), superblock.commit)
    if commitmeta is not None:
        target.put_commitmeta(commit, commitmeta)
    return Applied(commit, sum(len(entry.objects) for entry in superblock.parts))


def _check_start(superblock: Superblock, target: Target) -> None:
    source = superblock.name.source
    if source is not None and not target.has(ObjectName(ObjectType.COMMIT, source)):
        raise SourceMissing("the delta starts from a commit that is not here", commit=source.hex())
    wanted = (ObjectName(ObjectType.FILE, one.checksum) for one in superblock.fallbacks)
    missing = [name for name in wanted if not target.has(name)]
    if missing:
        raise FallbackMissing("objects of the delta have to be fetched by themselves", **_named(missing))


def _check_tree(superblock: Superblock, target: Target) -> None:
    commit = superblock.name.target

    def read(name: ObjectName) -> bytes:
        if name.checksum == commit and name.type is ObjectType.COMMIT:
            return superblock.commit
        if not target.has(name):
            raise Incomplete("the delta does not bring all of its commit", **_named([name]))
        return target.metadata(name)

    files = (visited.name for visited in closure(read, commit) if visited.data is None)
    missing = [name for name in files if not target.has(name)]
    if missing:
        raise Incomplete("the delta does not bring all of its commit", **_named(missing))


def _named(missing: Sequence[ObjectName]) -> dict[str, object]:
    return {"count": len(missing), "objects": [str(name) for name in missing[:SHOWN]]}
