"""The files in a tar that is mapped: where their bytes lie, and all names that they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.paths import clean
from smidgen_deltas.tar.reader import TarReader


@dataclass(slots=True)
class Body:
    """Content of a regular file in a tar, at least one byte.

    Args:
        data: the stored bytes.
        start: where in the tar.
        names: clean paths; hard links that follow it are added.
        readable: whether everybody may read the file, so that an applier without privileges can.
        plain: False for a sparse file, whose bytes in a folder are not those in the tar.
    """

    data: memoryview
    start: int
    names: list[bytes] = field(default_factory=list)
    readable: bool = True
    plain: bool = True


def members(tar: Buffer) -> Iterator[tuple[Member, Body | None]]:
    """All members of a tar, with the body of those that have one. Raises TarCorrupt, TarAmbiguous, TarUnsupported,
    TarLimit while iterating."""
    view = memoryview(tar).cast("B")
    reader = TarReader(_Mapped(view))
    for member in reader:
        body = None
        if member.type is MemberType.FILE and member.stored:
            start = reader.offset
            readable = bool(member.mode & 0o004)
            body = Body(view[start : start + member.stored], start, [], readable, member.sparse is None)
        yield member, body


def bodies(tar: Buffer) -> list[Body]:
    """The bodies of a tar in order, with the names that its own hard links give them. Raises as `members`."""
    found: list[Body] = []
    known: dict[bytes, Body] = {}
    for member, body in members(tar):
        name = clean_name(member.path)
        if body is None and member.type is MemberType.HARDLINK:
            body = known.get(clean_name(member.linkname) or b"")
        elif body is not None:
            found.append(body)
        if body is not None and name:
            known[name] = body
            body.names.append(name)
    return found


def clean_name(path: bytes) -> bytes | None:
    """The one spelling of a path; None for one that leads outside or to the top."""
    try:
        return clean(path.lstrip(b"/")) or None
    except UnsafePath:
        return None


class _Mapped:
    """A tar `Source` over bytes that are there already."""

    __slots__ = ("_view", "offset")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.offset = 0

    def take(self, size: int) -> bytes:
        return self.some(size)

    def some(self, limit: int) -> bytes:
        found = bytes(self._view[self.offset : self.offset + limit])
        self.offset += len(found)
        return found

    def skip(self, size: int) -> int:
        passed = min(size, len(self._view) - self.offset)
        self.offset += passed
        return passed
