"""Folders as sides of a delta: seen as the tar of them, which says the same whenever it is made of the same folder.

The tar is PAX with members sorted by name, numeric owners, times to the nanosecond and extended attributes in
`SCHILY.xattr.*`, after a global header whose comment marks it, so that a delta to a folder is applied to a folder.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_deltas.errors import StorageError, UsageError
from smidgen_deltas.tar.pieces import Literal, Piece

MARK: Final = "smidgen folder 1"
HEAD: Final = 1024  # of a tar: the global header and its record
SECOND: Final = 1_000_000_000


def write_tar(folder: Path, file: BinaryIO) -> None:
    """Write the tar of a folder; sockets, which no tar holds, are left out. Raises StorageError, UsageError."""
    try:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": MARK}) as tar:
            tar.add(folder, "./", filter=lambda info: _exact(folder, info))
    except OSError as error:  # also what tarfile says when a file shrinks meanwhile
        reason = error.strerror or str(error)
        raise StorageError("folder cannot be read", path=str(error.filename or folder), reason=reason) from error
    except ValueError as error:
        raise UsageError("folder holds what no tar does", path=str(folder), reason=str(error)) from error


def _exact(folder: Path, info: tarfile.TarInfo) -> tarfile.TarInfo:
    """With the nanoseconds and extended attributes that tarfile leaves out, without the names of owners."""
    path = folder / info.name.removeprefix("./")
    facts = path.lstat()
    info.uname = info.gname = ""
    info.pax_headers = {"mtime": f"{facts.st_mtime_ns // SECOND}.{facts.st_mtime_ns % SECOND:09}"}
    if not info.islnk():
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            value = os.getxattr(path, name, follow_symlinks=False)
            info.pax_headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    return info


def is_folder(pieces: Iterable[Piece]) -> bool:
    """Whether a tar is one of `write_tar`. Raises FormatError."""
    first = next(iter(pieces), None)
    return isinstance(first, Literal) and f"comment={MARK}\n".encode() in first.data[:HEAD]
