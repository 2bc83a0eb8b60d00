"""A static delta with any field wrong, and all checksums around that field right, is refused with what, where and why.

Nothing of it is in the repository afterwards. Stock ostree refuses it too, or takes no harm: it does not read every
field (time, sizes, what is not used), but each object that it makes is what its name says.
"""

from __future__ import annotations

import copy
import lzma
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from smidgen_client.deltas.static import apply_static
from smidgen_deltas.errors import (
    DigestMismatch,
    FormatError,
    IntegrityError,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    SmidgenError,
    UnsupportedFeature,
)
from smidgen_deltas.ostree.gvariant import NotNormal, Variant
from smidgen_deltas.ostree.objects import ObjectInvalid, ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.static.apply import FallbackMissing, Incomplete, SourceMissing
from smidgen_deltas.ostree.static.bsdiff import BsdiffInvalid
from smidgen_deltas.ostree.static.operations import (
    Close,
    Metadata,
    NoSource,
    Open,
    Operation,
    OperationInvalid,
    Patch,
    Source,
    Whole,
    Write,
    encode_operations,
)
from smidgen_deltas.ostree.static.part import PartInvalid
from smidgen_deltas.ostree.static.superblock import SuperblockInvalid
from support.ostree import ostree
from support.static_anatomy import (
    BEFORE,
    COMMITTED,
    CREATED,
    FALLBACKS,
    METADATA,
    OBJECTS,
    SAME,
    SHA256,
    SIZE,
    SOURCE,
    TARGET,
    USIZE,
    VERSION,
    Anatomy,
    PartAnatomy,
    small_commits,
)
from support.static_deltas import Commits, holding, made

pytestmark = pytest.mark.needs("ostree")

Damage = Callable[[Anatomy], object]
ORDER = "ostree.endianness"
STRANGE = bytes(range(32))


@dataclass(frozen=True)
class Case:
    """One wrong field. where: names that the error's detail has, one of each group."""

    damage: Damage
    error: type[SmidgenError] | tuple[type[SmidgenError], ...]
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """device: has the old commit; it is as it was after each test."""

    anatomy: Anatomy
    device: Path
    pristine: Path
    old: bytes
    new: bytes

    def restore(self) -> None:
        shutil.rmtree(self.device)
        shutil.copytree(self.pristine, self.device, symlinks=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    commits: Commits = small_commits(folder)
    origin, old, new = commits
    anatomy = Anatomy.of(made(origin, old, new))
    device = holding(folder, origin, old)
    right = copy.deepcopy(anatomy)
    right.fields[FALLBACKS] = [[1, anatomy.same, 50, len(SAME)]]
    right.parts[0].tail = encode_operations([NoSource(), right.parts[0].operations[place_of(right.parts[0], "source")]])
    apply_static(right.write(folder / "right"), f"ostree:{device}")  # what is not damaged is taken
    ostree(device, "fsck")
    shutil.rmtree(device)
    pristine = holding(folder, origin, old).rename(folder / "pristine")
    shutil.copytree(pristine, device, symlinks=True)
    return Scene(anatomy, device, pristine, old, new)


# -- the superblock ----------------------------------------------------------------------------------------------------


def put(at: int, value: Any) -> Damage:
    return lambda anatomy: anatomy.fields.__setitem__(at, value)


def key(name: str, value: Variant) -> Damage:
    return lambda anatomy: anatomy.fields[METADATA].__setitem__(name, value)


def committed(at: int, value: Any, *, renamed: bool) -> Damage:
    def damage(anatomy: Anatomy) -> None:
        anatomy.fields[COMMITTED][at] = value
        if renamed:
            anatomy.rename()

    return damage


def entry(at: int, value: Any, number: int = 0) -> Damage:
    return lambda anatomy: anatomy.parts[number].entry.__setitem__(at, value)


def objects(change: Callable[[list[ObjectName]], object]) -> Damage:
    return lambda anatomy: change(anatomy.parts[0].objects)


def fallback(at: int, value: Any, *, has: bool = True) -> Damage:
    """A fallback object, right but for one field: one that the device has, and that the new commit needs."""

    def damage(anatomy: Anatomy) -> None:
        listed = [1, anatomy.same if has else anatomy.parts[1].objects[0].checksum, 50, len(SAME)]
        listed[at] = value
        anatomy.fields[FALLBACKS] = [listed]
        if not has:
            del anatomy.parts[1]

    return damage


COMMIT_FIELDS: dict[str, tuple[int, Any]] = {
    "metadata": (0, {"version": Variant("s", "2")}),
    "parent": (1, STRANGE),
    "related": (2, (("other", STRANGE),)),
    "subject": (3, "another"),
    "body": (4, "another"),
    "timestamp": (5, 1),
    "tree": (6, STRANGE),
    "meta": (7, STRANGE),
}

SUPERBLOCK: dict[str, Case] = {
    "byte order that is none": Case(key(ORDER, Variant("y", 0x41)), SuperblockInvalid, ("value",)),
    "byte order of another type": Case(key(ORDER, Variant("u", 0x6C)), SuperblockInvalid, ("value",)),
    "the other byte order": Case(key(ORDER, Variant("y", 0x42)), LimitExceeded, ("size",)),
    "time in the other byte order": Case(put(CREATED, 1_700_000_000), SuperblockInvalid, ("created",)),
    "another from": Case(put(SOURCE, STRANGE), SourceMissing, ("commit",)),
    "no from": Case(put(SOURCE, b""), PartInvalid, ("part", "object", "source")),
    "a short from": Case(put(SOURCE, STRANGE[1:]), SuperblockInvalid, ("where",)),
    "another to": Case(put(TARGET, STRANGE), DigestMismatch, ("expected", "found")),
    "a long to": Case(put(TARGET, STRANGE + b"?"), SuperblockInvalid, ("where",)),
    "something to apply before": Case(put(BEFORE, STRANGE * 2), UnsupportedFeature, ("first",)),
    "half a pair to apply before": Case(put(BEFORE, STRANGE), SuperblockInvalid, ("length",)),
    "a version": Case(entry(VERSION, 1), UnsupportedFeature, ("part", "version")),
    "another digest": Case(entry(SHA256, STRANGE), DigestMismatch, ("part", "expected", "found")),
    "a short digest": Case(entry(SHA256, b""), SuperblockInvalid, ("where",)),
    "a smaller size": Case(entry(SIZE, 100), SizeMismatch, ("part", "expected", "found")),
    "a larger size": Case(entry(SIZE, 1 << 20), SizeMismatch, ("part", "expected", "found")),
    "a huge size": Case(entry(SIZE, 1 << 40), LimitExceeded, ("size", "limit")),
    "a smaller usize": Case(entry(USIZE, 1000), SizeMismatch, ("part", "usize", "made")),
    "a larger usize": Case(entry(USIZE, 1 << 20), SizeMismatch, ("part", "usize", "made")),
    "a huge usize": Case(entry(USIZE, 1 << 60), LimitExceeded, ("size", "limit")),
    "an object less": Case(objects(list.pop), OperationInvalid, ("part", "at")),
    "an object more": Case(
        objects(lambda names: names.append(ObjectName(ObjectType.FILE, STRANGE))), OperationInvalid, ("part", "at")
    ),
    "an object of another name": Case(
        objects(lambda names: names.__setitem__(-1, ObjectName(ObjectType.FILE, STRANGE))), DigestMismatch, ("part",)
    ),
    "an object twice": Case(
        objects(lambda names: names.__setitem__(-1, names[-2])), SuperblockInvalid, ("where", "object")
    ),
    "objects in another order": Case(objects(list.reverse), (OperationInvalid, DigestMismatch), ("part",)),
    "a dirmeta for a dirtree": Case(
        objects(lambda names: names.__setitem__(0, ObjectName(ObjectType.DIRMETA, names[0].checksum))),
        Incomplete,
        ("objects",),
    ),
    "half an object": Case(entry(OBJECTS, bytes(20)), SuperblockInvalid, ("part", "length")),
    "an object of no type": Case(entry(OBJECTS, b"\x07" + STRANGE), SuperblockInvalid, ("part", "object", "type")),
    "a part less": Case(lambda anatomy: anatomy.parts.pop(), Incomplete, ("objects",)),
    "a part twice": Case(lambda anatomy: anatomy.parts.append(anatomy.parts[1]), SuperblockInvalid, ("where",)),
    "a fallback that is not here": Case(fallback(0, 1, has=False), FallbackMissing, ("objects",)),
    "a fallback of another type": Case(fallback(0, 2, has=False), SuperblockInvalid, ("fallback", "type")),
    "a fallback of another name": Case(fallback(1, STRANGE), FallbackMissing, ("objects",)),
    "a fallback of another size": Case(fallback(3, 1), SizeMismatch, ("fallback", "object", "expected", "found")),
    "a fallback of half a name": Case(fallback(1, b"?"), SuperblockInvalid, ("where",)),
    "a fallback of a huge size": Case(fallback(2, 1 << 60, has=False), LimitExceeded, ("size",)),
    "a fallback of a huge usize": Case(fallback(3, 1 << 60, has=False), LimitExceeded, ("size",)),
    "a commit without its tree": Case(committed(6, STRANGE, renamed=True), Incomplete, ("objects",)),
    "a commit without its dirmeta": Case(committed(7, STRANGE, renamed=True), Incomplete, ("objects",)),
    "a commit with half a parent": Case(committed(1, b"?", renamed=True), ObjectInvalid, ("length",)),
    **{
        f"another {name} in the commit": Case(committed(*change, renamed=False), DigestMismatch, ("expected", "found"))
        for name, change in COMMIT_FIELDS.items()
    },
}

# -- parts -------------------------------------------------------------------------------------------------------------


def part(change: Callable[[PartAnatomy], object]) -> Damage:
    return lambda anatomy: change(anatomy.parts[0])


def stored(change: Callable[[bytes], bytes]) -> Damage:
    return part(lambda one: setattr(one, "stored", change(one.file())))


def flipped(shape: str) -> Damage:
    """A bit of the data that an operation draws from."""

    def change(one: PartAnatomy) -> None:
        operation = one.operations[place_of(one, shape)]
        one.blob[operation.offset + 5] ^= 1  # type: ignore[union-attr]

    return part(change)


def place_of(one: PartAnatomy, shape: str) -> int:
    """The number of the first operation of a shape."""
    return next(number for number, operation in enumerate(one.operations) if SHAPES[shape](operation))


def number_at(one: PartAnatomy, at: int, value: int) -> None:
    """Overwrite a number of the bsdiff stream."""
    (patch,) = (operation for operation in one.operations if isinstance(operation, Patch))
    one.blob[patch.offset + at : patch.offset + at + 8] = value.to_bytes(8, "little")


def mode(change: Callable[[int, int, int], tuple[int, int, int]], row: int = 1) -> Damage:
    return part(lambda one: one.modes.__setitem__(row, change(*one.modes[row])))


IN_OBJECT = ("part", "object")
PARTS: dict[str, Case] = {
    "another user": Case(mode(lambda uid, gid, bits: (uid + 1, gid, bits)), DigestMismatch, IN_OBJECT),
    "another group": Case(mode(lambda uid, gid, bits: (uid, gid + 1, bits)), DigestMismatch, IN_OBJECT),
    "other permissions": Case(mode(lambda uid, gid, bits: (uid, gid, bits ^ 0o111)), DigestMismatch, IN_OBJECT),
    "a symlink's mode": Case(mode(lambda uid, gid, _: (uid, gid, 0o120777)), (PartInvalid, SizeMismatch), ("part",)),
    "a folder's mode": Case(mode(lambda uid, gid, _: (uid, gid, 0o040755)), ObjectInvalid, ("part", "mode")),
    "an xattr": Case(part(lambda one: one.xattrs.__setitem__(0, ((b"user.a\0", b"1"),))), DigestMismatch, IN_OBJECT),
    "an xattr without a name": Case(
        part(lambda one: one.xattrs.__setitem__(0, ((b"", b"1"),))), ObjectInvalid, ("part",)
    ),
    "no xattrs": Case(part(lambda one: one.xattrs.clear()), OperationInvalid, ("part", "at", "object")),
    "no modes": Case(part(lambda one: one.modes.clear()), OperationInvalid, ("part", "at", "object")),
    "a byte of a dirtree": Case(flipped("metadata"), DigestMismatch, ("part", "expected", "found")),
    "a byte of a symlink's target": Case(flipped("symlink"), DigestMismatch, IN_OBJECT),
    "a byte of a file": Case(flipped("file"), DigestMismatch, IN_OBJECT),
    "a byte of a patch": Case(part(lambda one: number_at(one, 10_000, 1 << 50)), DigestMismatch, IN_OBJECT),
    "a byte of a source's name": Case(flipped("source"), PartInvalid, (*IN_OBJECT, "source")),
    "a patch that adds less": Case(part(lambda one: number_at(one, 0, 19_999)), BsdiffInvalid, (*IN_OBJECT, "at")),
    "a patch that adds more": Case(part(lambda one: number_at(one, 0, 20_001)), BsdiffInvalid, (*IN_OBJECT, "at")),
    "a patch with more new bytes": Case(part(lambda one: number_at(one, 8, 1)), BsdiffInvalid, (*IN_OBJECT, "at")),
    "a patch that steps far": Case(
        part(lambda one: number_at(one, 16, (1 << 63) - 1)), BsdiffInvalid, (*IN_OBJECT, "at")
    ),
    "data cut off": Case(part(lambda one: one.blob.__delitem__(slice(-32, None))), OperationInvalid, ("part", "at")),
    "an unknown operation": Case(part(lambda one: setattr(one, "tail", b"x")), OperationInvalid, ("part", "at")),
    "an operation cut off": Case(part(lambda one: setattr(one, "tail", b"r\x80")), OperationInvalid, ("part", "at")),
    "a number too long": Case(
        part(lambda one: setattr(one, "tail", b"r" + b"\xff" * 11)), OperationInvalid, ("part", "at")
    ),
    "an unknown compression": Case(stored(lambda file: b"g" + file[1:]), UnsupportedFeature, ("part", "compression")),
    "compressed, it says": Case(stored(lambda file: b"x" + lzma.decompress(file[1:])), PartInvalid, ("part", "near")),
    "not compressed, it says": Case(stored(lambda file: b"\0" + file[1:]), NotNormal, ("part",)),
    "nothing": Case(stored(lambda _: b""), FormatError, ("path",)),
    "no stream": Case(stored(lambda _: b"x"), PartInvalid, ("part",)),
    "a stream cut off": Case(stored(lambda file: file[:-1]), PartInvalid, ("part", "size")),
    "a stream with bytes behind": Case(stored(lambda file: file + b"?"), PartInvalid, ("part", "near")),
    "a stream with a bit wrong": Case(
        stored(lambda file: file[:500] + bytes((file[500] ^ 1,)) + file[501:]), PartInvalid, ("part", "near")
    ),
    "a payload with bytes behind": Case(
        part(lambda one: setattr(one, "stored", b"\0" + one.payload() + b"?")), NotNormal, ("part",)
    ),
    "a payload cut off": Case(
        part(lambda one: setattr(one, "stored", b"\0" + one.payload()[:-1])), NotNormal, ("part",)
    ),
    "a payload that is a bomb": Case(
        part(lambda one: setattr(one, "stored", b"x" + lzma.compress(bytes(65 << 20), preset=0))),
        LimitExceeded,
        ("part", "limit"),
    ),
}

# -- operations, each with each of its numbers -------------------------------------------------------------------------

SHAPES: dict[str, Callable[[Operation], bool]] = {
    "metadata": lambda one: isinstance(one, Metadata),
    "symlink": lambda one: isinstance(one, Whole) and one.size == 9,
    "file": lambda one: isinstance(one, Whole) and one.size == 300,
    "open": lambda one: isinstance(one, Open),
    "source": lambda one: isinstance(one, Source),
    "no source": lambda one: isinstance(one, NoSource),
    "write from a source": lambda one: isinstance(one, Write) and one.length == 8000,
    "write from the data": lambda one: isinstance(one, Write) and one.length == 500,
    "patch": lambda one: isinstance(one, Patch),
    "close": lambda one: isinstance(one, Close),
}


def changed(shape: str, change: Callable[[Operation], list[Operation]]) -> Damage:
    def damage(anatomy: Anatomy) -> None:
        operations = anatomy.parts[0].operations
        at = place_of(anatomy.parts[0], shape)
        operations[at : at + 1] = change(operations[at])

    return damage


def by(name: str, step: int) -> Callable[[Operation], list[Operation]]:
    """A number that is a little larger or smaller; or far outside."""

    def change(operation: Operation) -> list[Operation]:
        return [replace(operation, **{name: max(0, getattr(operation, name) + step)})]

    return change


WRONG = (FormatError, IntegrityError, NotFound)


def operations() -> Iterator[tuple[str, Case]]:
    kinds = {
        "metadata": Metadata,
        "symlink": Whole,
        "file": Whole,
        "open": Open,
        "source": Source,
        "write from a source": Write,
        "write from the data": Write,
        "patch": Patch,
    }
    for shape, kind in kinds.items():
        for one in fields(kind):
            steps = (1, 1 << 40) if one.name in ("xattrs",) else (1, -1, 1 << 40)
            for step in steps:
                name = f"{shape}: {one.name} {'far' if step > 1 else f'{step:+}'}"
                if name not in ZERO:
                    yield name, Case(changed(shape, by(one.name, step)), WRONG, ("part",))
    for shape in SHAPES:
        yield f"{shape}: left out", Case(changed(shape, lambda _: []), WRONG, ("part",))
    for shape in (
        "metadata",
        "symlink",
        "file",
        "open",
        "write from a source",
        "write from the data",
        "patch",
        "close",
    ):
        yield f"{shape}: twice", Case(changed(shape, lambda one: [one, one]), WRONG, ("part",))


ZERO = {"metadata: offset -1", "symlink: mode -1", "write from a source: offset -1"}  # 0 already
KINDS = {".dirtree": ObjectType.DIRTREE, ".dirmeta": ObjectType.DIRMETA, ".commit": ObjectType.COMMIT}
INCOMPLETE = {"an object twice", "a part less", "nothing", "a commit without its tree", "a commit without its dirmeta"}
"""What stock ostree takes, leaving a commit that lacks objects: it asks nobody whether the tree is complete."""

CASES = SUPERBLOCK | PARTS | dict(operations())


def listing(repo: Path) -> dict[str, int]:
    """Every file but the lock, with its size."""
    files = {str(path.relative_to(repo)): path for path in repo.rglob("*") if path.is_file() or path.is_symlink()}
    return {name: path.lstat().st_size for name, path in files.items() if name != ".lock"}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_field_is_refused(scene: Scene, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    anatomy = copy.deepcopy(scene.anatomy)
    case.damage(anatomy)
    delta = anatomy.write(tmp_path / "delta")
    before = listing(scene.device)
    with pytest.raises(case.error) as refused:
        apply_static(delta, f"ostree:{scene.device}")
    assert listing(scene.device) == before
    assert refused.value.message and refused.value.detail.keys() >= set(case.where), refused.value
    stock_takes_no_harm(scene, name, delta)


def stock_takes_no_harm(scene: Scene, name: str, delta: Path) -> None:
    before = listing(scene.device)
    words = ["ostree", f"--repo={scene.device}", "static-delta", "apply-offline", str(delta)]
    taken = subprocess.run(words, capture_output=True, check=False).returncode == 0
    after = listing(scene.device)
    if after == before:
        return
    try:
        assert taken or before.keys() == {path for path in after if not path.startswith("tmp/")}
        if taken and name not in INCOMPLETE:
            ostree(scene.device, "fsck")
        for file in scene.device.glob("objects/??/*"):
            check_object(scene.device, file)
    finally:
        scene.restore()


def check_object(repo: Path, file: Path) -> None:
    """That an object is what its name says, whether or not something needs it."""
    checksum = bytes.fromhex(file.parent.name + file.stem)
    if file.suffix == ".file":
        with Repository.open(repo).open_file(checksum) as opened:
            for _ in opened.chunks:
                pass
    elif file.suffix in KINDS:
        Repository.open(repo).metadata(ObjectName(KINDS[file.suffix], checksum))
