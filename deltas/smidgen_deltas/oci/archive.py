"""Where the files of an image layout are: in a directory, or in a tar of one (skopeo's and podman's `oci-archive:`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from smidgen_deltas.errors import FormatError, NotFound, UnsupportedFeature
from smidgen_deltas.oci.gunzip import Reader
from smidgen_deltas.oci.layer import sniff
from smidgen_deltas.oci.media import Compression
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.paths import clean
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.source import FileSource

ARCHIVE_LIMITS: Final = Limits(headers=100_000)
_SNIFF: Final = 8


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


class ArchiveFiles:
    """A layout in an uncompressed tar. Its names are listed once; files are read where they lie."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            compression = sniff(file.read(_SNIFF))
            if compression is not Compression.NONE:
                raise UnsupportedFeature("archive of an image layout is compressed", compression=compression)
            file.seek(0)
            self._places = _places(file)

    def size(self, name: str) -> int | None:
        place = self._places.get(name)
        return place[1] if place else None

    @contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        place = self._places.get(name)
        if place is None:
            raise NotFound("no such file in the archive", name=name)
        with open(self._path, "rb", buffering=0) as file:
            file.seek(place[0])
            yield _Window(file, place[1])


def _places(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Offset and size of each file. A name that occurs twice is refused: which one counts differs between readers."""
    places: dict[str, tuple[int, int]] = {}
    reader = TarReader(FileSource(file), limits=ARCHIVE_LIMITS)
    for member in reader:
        if member.type is MemberType.DIRECTORY:
            continue
        name = _name(member)
        if name in places:
            raise LayoutInvalid("archive has a file twice", name=name)
        places[name] = (reader.offset, member.size)
    return places


def _name(member: Member) -> str:
    name = clean(member.path).decode("utf-8", "backslashreplace")
    if member.type is not MemberType.FILE or member.sparse is not None:
        raise LayoutInvalid("archive of an image layout has more than plain files", name=name, type=member.type)
    return name


class _Window:
    """The part of a file that is one member."""

    __slots__ = ("_file", "_left")

    def __init__(self, file: Reader, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
