"""Where an applier gets the old files from: a folder, or whatever opens a path.

A folder is never left: names are looked up one component at a time below its handle, links are not followed, and only
regular files are opened (a device or a pipe would be read from otherwise).
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound, StorageError
from smidgen_deltas.tar.beneath import Beneath
from smidgen_deltas.tar.paths import show, split

OpenFile = Callable[[bytes], Buffer]
"""Gives all bytes of the old file at a clean path, preferably mapped. Raises SourceMissing."""

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class SourceMissing(NotFound):
    """An old file that a tar-diff reads from is not there, or is no regular file."""

    code = "BLOB_UNKNOWN"
    hint = "The delta is for another old version. Give the extracted old layer that it was made from."


class Folder:
    """The extracted old files. Close it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError."""
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError("cannot open the old files", path=str(path), reason=error.strerror) from error
        self._beneath = Beneath(self._handle)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self._beneath.forget()
        os.close(self._handle)

    def open(self, path: bytes) -> Buffer:
        """A file below the folder, mapped. Raises SourceMissing, UnsafePath, StorageError."""
        *above, name = split(path)
        try:
            handle = os.open(name, _FLAGS, dir_fd=self._beneath.directory(tuple(above), make=False))
        except FileNotFoundError as error:
            raise SourceMissing("an old file is missing", path=show(path)) from error
        except OSError as error:
            raise StorageError("cannot open an old file", path=show(path), reason=error.strerror) from error
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise SourceMissing("an old file is no regular file", path=show(path))
            return memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ)) if facts.st_size else b""
        finally:
            os.close(handle)
