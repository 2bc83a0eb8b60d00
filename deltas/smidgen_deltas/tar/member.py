"""A member of a tar, after all its headers were understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

BodyReader = Callable[[], Iterator[bytes]]


class MemberType(StrEnum):
    """What a member makes in the file system."""

    FILE = "file"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    CHAR = "char"
    BLOCK = "block"
    DIRECTORY = "directory"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sparse file that has data; what lies between segments is zeros."""

    offset: int
    length: int


def _no_body() -> Iterator[bytes]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as the archive describes it.

    Args:
        path, linkname: raw bytes, exactly as given: they may be absolute, contain "..", or end in "/". `paths.clean`
            decides what is safe.
        mode: permission bits, 0 <= mode <= 0o7777.
        mtime_ns: nanoseconds since 1970.
        size: bytes of the file as a program reads it; 0 for all but files.
        stored: bytes of content in the archive; less than `size` for sparse files.
        sparse: where the stored bytes belong, in order; None for files without holes.
        xattrs: (name, value) sorted by name, from SCHILY.xattr and LIBARCHIVE.xattr records.
        records: the pax records that apply to this member, all of them, as given.
        offset: of the member's first header (an extension header where it has any).
    """

    path: bytes
    type: MemberType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    stored: int
    linkname: bytes
    uname: bytes
    gname: bytes
    devmajor: int
    devminor: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    sparse: tuple[Segment, ...] | None
    records: tuple[tuple[bytes, bytes], ...]
    offset: int
    _body: BodyReader = field(default=_no_body, repr=False, compare=False)

    @property
    def mtime(self) -> int:
        """Whole seconds since 1970, rounded down."""
        return self.mtime_ns // 1_000_000_000

    def chunks(self) -> Iterator[bytes]:
        """The stored bytes, in blocks as they come in; RuntimeError once the reader has gone on to the next member."""
        return self._body()
