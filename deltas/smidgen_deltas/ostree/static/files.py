"""Where a static delta is read from: a folder with `superblock`, `0`, `1`…, or one file that holds everything."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from smidgen_deltas.errors import FormatError, NotFound, StorageError
from smidgen_deltas.ostree.commitmeta import verify_ed25519
from smidgen_deltas.ostree.deltaname import SUPERBLOCK, DeltaName, DeltaNameInvalid
from smidgen_deltas.ostree.static.part import check_part
from smidgen_deltas.ostree.static.signed import decode_signed, is_signed
from smidgen_deltas.ostree.static.superblock import MAX_FILE, Superblock, SuperblockInvalid, decode_superblock


class DeltaUnreadable(NotFound):
    """A file of a delta is not there."""


@dataclass(frozen=True, slots=True)
class DeltaFiles:
    """A delta on disk.

    Args:
        data: bytes of the superblock, without signatures.
        signatures: ed25519, over `data`; not verified here.
        folder: where parts are that are not in the superblock.
    """

    superblock: Superblock
    data: bytes
    signatures: tuple[bytes, ...]
    folder: Path

    @classmethod
    def open(cls, path: Path) -> DeltaFiles:
        """A folder or a file, signed or not.

        Raises DeltaUnreadable, what `decode_superblock` raises, SuperblockInvalid for a folder of a repository that is
        named after another delta.
        """
        file = path / SUPERBLOCK if path.is_dir() else path
        data = _read(file, MAX_FILE)
        found: tuple[bytes, ...] = ()
        if is_signed(data):
            signed = decode_signed(data)
            data, found = signed.superblock, signed.signatures
        superblock = decode_superblock(data, MAX_FILE)
        _check_place(file.parent, superblock)
        return cls(superblock, data, found, file.parent)

    def verify(self, trusted: Collection[bytes]) -> None:
        """Raise SignatureInvalid unless one of these raw ed25519 keys signed the superblock, and what is inside."""
        verify_ed25519(self.data, self.signatures, trusted)

    def part(self, number: int) -> bytes | memoryview:
        """The bytes of a part, compared with the superblock. Raises DeltaUnreadable, SizeMismatch, DigestMismatch."""
        entry = self.superblock.parts[number]
        inline = self.superblock.inline_part(number)
        data = _mapped(self.folder / str(number), entry.size) if inline is None else inline
        check_part(data, entry, number)
        return data


def _check_place(folder: Path, superblock: Superblock) -> None:
    """In a repository the folder is named after what the delta leads from and to."""
    place = "/".join(folder.resolve().parts[-3:])
    try:
        promised = DeltaName.of_folder(place)
    except DeltaNameInvalid:
        return
    if promised != superblock.name:
        raise SuperblockInvalid("delta is in the folder of another", folder=place, delta=str(superblock.name))


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise DeltaUnreadable("no such delta", path=str(path)) from error
    except OSError as error:
        raise StorageError("delta cannot be read", path=str(path), reason=os.strerror(error.errno or 0)) from error
    return data


def _mapped(path: Path, size: int) -> memoryview:
    """At most one byte more than `size`, so that a file of another size is seen to be one."""
    try:
        with path.open("rb") as file:
            found = min(os.fstat(file.fileno()).st_size, size + 1)
            if not found:
                raise FormatError("part is empty", path=str(path))
            return memoryview(mmap.mmap(file.fileno(), found, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise DeltaUnreadable("a part of the delta is missing", path=str(path)) from error
    except OSError as error:
        raise StorageError("delta cannot be read", path=str(path), reason=os.strerror(error.errno or 0)) from error
