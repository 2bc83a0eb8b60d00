"""Where the files of an image layout are; here in a directory, see `archive` for a tar of one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from smidgen_deltas.errors import FormatError, NotFound
from smidgen_deltas.oci.gunzip import Reader


class LayoutInvalid(FormatError):
    """Not an image layout, or one that cannot be read in only one way."""


class LayoutFiles(Protocol):
    """The files of a layout, by their names relative to it."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, None when it is not there."""
        ...

    def open(self, name: str) -> AbstractContextManager[Reader]:
        """The file from its start. Raises NotFound."""
        ...


class DirectoryFiles:
    """A layout in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def size(self, name: str) -> int | None:
        try:
            found = (self._root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    @contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        try:
            handle = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound("no such file in the image layout", name=name) from error
        with open(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise LayoutInvalid("not a regular file in the image layout", name=name)
            yield file
