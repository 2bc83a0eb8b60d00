"""Applying a static delta: everything is checked before the first object, every object as it is made, the tree at last.

1. The source commit is there, and so are the fallback objects; a delta alone does not bring these.
2. Every part is unpacked and its operations are read. What they read from is in the source commit, or was made before
   in the same part: nothing else is certain to be there.
3. Parts are carried out, in order, into a transaction, which compares each object with its name.
4. The commit's tree is complete, and all that the delta lists is in it. Only then is the commit put.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final, Protocol

from smidgen_deltas.errors import NotFound, SizeMismatch
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.static.located import located
from smidgen_deltas.ostree.static.part import Part, PartInvalid, open_part
from smidgen_deltas.ostree.static.replay import ObjectStore, replay
from smidgen_deltas.ostree.static.superblock import PartEntry, Superblock, SuperblockInvalid
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
    Raises SourceMissing, FallbackMissing, Incomplete, FormatError, IntegrityError, StorageError; what belongs to a part
    names it in its detail.
    """
    known = _check_start(superblock, target)
    _check_fallbacks(superblock, target)
    opened: Part | None = None
    for number, entry in enumerate(superblock.parts):
        with located(part=number):
            opened = open_part(part(number), entry)
            _check_sources(opened, entry, known)
    for number, entry in enumerate(superblock.parts):
        with located(part=number):
            if opened is None or len(superblock.parts) > 1:
                opened = open_part(part(number), entry)
            replay(opened, entry.objects, target)
    commit = superblock.name.target
    _check_tree(superblock, target)
    commitmeta = superblock.commitmeta()
    target.put_metadata(ObjectName(ObjectType.COMMIT, commit), superblock.commit)
    if commitmeta is not None:
        target.put_commitmeta(commit, commitmeta)
    return Applied(commit, sum(len(entry.objects) for entry in superblock.parts))


def _check_start(superblock: Superblock, target: Target) -> Set[bytes]:
    """The files of the source commit, by checksum."""
    source = superblock.name.source
    if source is None:
        return frozenset()
    if not target.has(ObjectName(ObjectType.COMMIT, source)):
        raise SourceMissing("the delta starts from a commit that is not here", commit=source.hex())
    return {one.name.checksum for one in closure(target.metadata, source) if one.data is None}


def _check_fallbacks(superblock: Superblock, target: Target) -> None:
    missing = [one.name for one in superblock.fallbacks if not target.has(one.name)]
    if missing:
        raise FallbackMissing("objects of the delta have to be fetched by themselves", **_named(missing))
    for number, one in enumerate(superblock.fallbacks):
        with target.open_file(one.checksum) as opened:
            if opened.size != one.usize:
                raise SizeMismatch(
                    "fallback has the wrong size",
                    fallback=number,
                    object=str(one.name),
                    expected=one.usize,
                    found=opened.size,
                )


def _check_sources(part: Part, entry: PartEntry, known: Set[bytes]) -> None:
    places = {name.checksum: number for number, name in enumerate(entry.objects) if name.type is ObjectType.FILE}
    for number, source in part.sources():
        if source not in known and places.get(source, number) >= number:
            name = str(entry.objects[number]) if number < len(entry.objects) else "-"
            raise PartInvalid("source of an object is not in the starting commit", object=name, source=source.hex())


def _check_tree(superblock: Superblock, target: Target) -> None:
    commit = superblock.name.target

    def read(name: ObjectName) -> bytes:
        if name.checksum == commit and name.type is ObjectType.COMMIT:
            return superblock.commit
        if not target.has(name):
            raise Incomplete("the delta does not bring all of its commit", **_named([name]))
        return target.metadata(name)

    needed = {visited.name: visited.data is None for visited in closure(read, commit)}
    missing = [name for name, is_file in needed.items() if is_file and not target.has(name)]
    if missing:
        raise Incomplete("the delta does not bring all of its commit", **_named(missing))
    for where, name in superblock.listed():
        if name not in needed:
            raise SuperblockInvalid("delta lists an object that its commit lacks", where=where, object=str(name))


def _named(missing: Sequence[ObjectName]) -> dict[str, object]:
    return {"count": len(missing), "objects": [str(name) for name in missing[:SHOWN]]}
