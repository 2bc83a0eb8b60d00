"""The files of an image layout in a tar of one (skopeo's and podman's `oci-archive:`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_deltas.errors import NotFound, UnsupportedFeature
from smidgen_deltas.oci.gunzip import Reader
from smidgen_deltas.oci.layer import sniff
from smidgen_deltas.oci.layout_files import LayoutInvalid
from smidgen_deltas.oci.media import Compression
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.paths import clean
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.source import FileSource

ARCHIVE_LIMITS: Final = Limits(headers=100_000)
_SNIFF: Final = 8


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
