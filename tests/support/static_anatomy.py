"""A static delta taken to pieces, to be put together again with one of them wrong and everything around it right."""

from __future__ import annotations

import hashlib
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import COMMIT, FileHeader, ObjectName, checksum_file, swap32
from smidgen_deltas.ostree.static.make import MadeDelta
from smidgen_deltas.ostree.static.operations import Operation, encode_operations
from smidgen_deltas.ostree.static.part import PAYLOAD, open_part
from smidgen_deltas.ostree.static.superblock import INLINE, SIGNATURE
from support.ostree import ostree
from support.static_deltas import Commits, noise, write

MODES, XATTRS, BLOB, OPERATIONS = range(4)
METADATA, CREATED, SOURCE, TARGET, COMMITTED, BEFORE, PARTS, FALLBACKS = range(8)
SAME = b"the same in both"
VERSION, SHA256, SIZE, USIZE, OBJECTS = range(5)


@dataclass
class PartAnatomy:
    """A part. entry: fields of the superblock's entry that are not as they come out; stored: its bytes, if given."""

    objects: list[ObjectName]
    modes: list[tuple[int, int, int]]
    xattrs: list[Any]
    blob: bytearray
    operations: list[Operation]
    usize: int
    entry: dict[int, Any] = field(default_factory=dict)
    stored: bytes | None = None
    compressed: bool = True
    tail: bytes = b""

    def payload(self) -> bytes:
        modes = [tuple(map(swap32, row)) for row in self.modes]
        operations = encode_operations(self.operations) + self.tail
        return gvariant.encode(PAYLOAD, (modes, self.xattrs, bytes(self.blob), operations))

    def file(self) -> bytes:
        if self.stored is not None:
            return self.stored
        return b"x" + lzma.compress(self.payload(), preset=0) if self.compressed else b"\0" + self.payload()

    def row(self) -> list[Any]:
        file = self.file()
        objects = b"".join(bytes((name.type,)) + name.checksum for name in self.objects)
        fields: list[Any] = [0, hashlib.sha256(file).digest(), len(file), self.usize, objects]
        return [self.entry.get(number, value) for number, value in enumerate(fields)]


@dataclass
class Anatomy:
    """A delta; `fields` are those of the superblock, but for the parts, which are in `parts`.

    same: a file that both commits have.
    """

    fields: list[Any]
    parts: list[PartAnatomy]
    same: bytes = checksum_file(FileHeader(0, 0, 0o100644), [SAME])

    @classmethod
    def of(cls, made: MadeDelta) -> Anatomy:
        fields = list(gvariant.decode(SIGNATURE, made.superblock.encode()))
        fields[COMMITTED] = list(fields[COMMITTED])
        fields[FALLBACKS] = [list(row) for row in fields[FALLBACKS]]
        parts = []
        for entry, packed in zip(made.superblock.parts, made.parts, strict=True):
            part = open_part(packed.read(), entry)
            operations = [operation for _, operation in part.operations]
            parts.append(
                PartAnatomy(
                    list(entry.objects),
                    list(part.modes),
                    list(part.xattrs),
                    bytearray(part.blob),
                    operations,
                    entry.usize,
                )
            )
        return cls(fields, parts)

    def superblock(self) -> bytes:
        fields = list(self.fields)
        fields[PARTS] = [tuple(part.row()) for part in self.parts]
        fields[FALLBACKS] = [tuple(row) for row in fields[FALLBACKS]]
        fields[COMMITTED] = tuple(fields[COMMITTED])
        return gvariant.encode(SIGNATURE, tuple(fields))

    def rename(self) -> None:
        """Lead to the commit that is inside, whatever it says."""
        self.fields[TARGET] = hashlib.sha256(gvariant.encode(COMMIT, tuple(self.fields[COMMITTED]))).digest()

    def put_inside(self, folder: str) -> None:
        """All parts into the superblock. folder: what the delta is called there."""
        for number, part in enumerate(self.parts):
            file = part.file()
            self.fields[METADATA][f"{folder}/{number}"] = Variant(INLINE, (file[0], file[1:]))

    def write(self, folder: Path) -> Path:
        """Superblock and parts, in a folder that does not exist."""
        folder.mkdir(parents=True)
        for number, part in enumerate(self.parts):
            (folder / str(number)).write_bytes(part.file())
        (folder / "superblock").write_bytes(self.superblock())
        return folder


def small_commits(folder: Path) -> Commits:
    """Two small commits between which all operations and all kinds of objects occur."""
    old, new = folder / "old", folder / "new"
    program, other, third = noise(1, 20_000), noise(2, 9000), noise(3, 9000)
    changed = bytearray(program)
    for at in range(0, len(changed), 40):
        changed[at] ^= 1
    write(old, "bin/program", program)
    write(new, "bin/program", bytes(changed))
    write(old, "share/one", other)
    write(old, "share/two", third)
    write(new, "share/joined", other[:8000] + noise(4, 500) + third[1000:])
    write(new, "share/fresh", noise(5, 300))
    write(new, "share/packed.gz", noise(6, 90_000))
    write(new, "etc/executable", b"#!").chmod(0o755)
    write(new, "etc/empty", b"")
    (new / "etc").chmod(0o700)
    for root, target in ((old, "bin/program"), (new, "share/one")):
        write(root, "share/same", SAME)
        (root / "link").symlink_to(target)
    repo = folder / "repo"
    ostree(repo, "init", "--mode=archive")
    found = [
        bytes.fromhex(ostree(repo, "commit", "--branch=os", "--canonical-permissions", f"--tree=dir={tree}").strip())
        for tree in (old, new)
    ]
    return repo, found[0], found[1]
