"""A layer that a container build put on top of a commit, as a tree of ostree's.

The rules are those of ostree-ext for such layers (its `tar/write.rs` has the stock implementation): `etc` is `usr/etc`;
`usr`, `var` and the roots of API file systems are taken, what lies in those or elsewhere is not; a file of the
repository below that was written to becomes the file that links to it.

Rules enforced here: no path leads upward, names are UTF-8, no devices, hard links only to files of the same layer, at
most MAX_MEMBERS members. Memory: names; contents that are over HELD wait in a file for their checksum.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree.container.folders import Folder
from smidgen_deltas.ostree.container.layer_reader import file_header
from smidgen_deltas.ostree.container.layout import ContainerInvalid, parse_object
from smidgen_deltas.ostree.objects import DirMeta, FileHeader, checksum_file
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.paths import show, split
from smidgen_deltas.tar.reader import TarReader

MAX_MEMBERS: Final = 4_000_000
HELD: Final = 4 << 20
_BLOCK: Final = 1 << 18
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_TAKEN: Final = ("usr", "var")
_EMPTY: Final = ("run", "tmp", "proc", "sys", "dev")  # API file systems: a runtime fills them

PutFile = Callable[[bytes, FileHeader, int, Iterable[bytes]], None]


class DerivedReader:
    """Reads one layer.

    Args:
        put_file: stores a file object; see repo_writer.Transaction.
    """

    def __init__(self, put_file: PutFile) -> None:
        self._put_file = put_file
        self._root = Folder()
        self._written: dict[bytes, bytes] = {}  # objects of the repository below that this layer has written to
        self.left_out: dict[str, int] = {}
        """How many members were not taken, by the first folder of their path."""

    def read(self, blocks: Iterable[bytes]) -> Folder:
        """The tree of the tar. Raises ContainerInvalid, UnsafePath, LimitExceeded, TarCorrupt, ObjectInvalid."""
        for count, member in enumerate(TarReader(blocks)):
            if count >= MAX_MEMBERS:
                raise LimitExceeded("too many members in a layer", limit=MAX_MEMBERS)
            self._take(member)
        return self._root

    def _take(self, member: Member) -> None:
        path = _names(member.path, member)
        if parse_object("/".join(path).encode()) is not None and member.type is MemberType.FILE:
            if member.mtime > 0:
                self._written["/".join(path).encode()] = self._store(member)
            return
        place = self._place(path)
        if place is None:
            return
        if not place:
            self._root.meta = _meta(member)
            return
        folder, name = self._enter(place[:-1], member), place[-1]
        if name == _OPAQUE:
            folder.opaque = True
        elif name.startswith(_WHITEOUT):
            self._remove(folder, name.removeprefix(_WHITEOUT), member)
        else:
            self._add(folder, name, member)

    def _place(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Where a path of the running image is in the commit; None when it is left out."""
        if not path or path[0] in _TAKEN:
            return path
        if path[0] == "etc":
            return ("usr", *path)
        if path[0] in _EMPTY and len(path) == 1:
            return path
        self.left_out[path[0]] = self.left_out.get(path[0], 0) + 1
        return None

    def _enter(self, path: Iterable[str], member: Member) -> Folder:
        found = self._root
        for name in path:
            if name in found.files:
                raise ContainerInvalid("path leads through a file", path=show(member.path), offset=member.offset)
            found = found.folders.setdefault(name, Folder())
        return found

    @staticmethod
    def _remove(folder: Folder, name: str, member: Member) -> None:
        if name in ("", ".", ".."):
            raise ContainerInvalid("whiteout of nothing", path=show(member.path), offset=member.offset)
        folder.gone.add(name)

    def _add(self, folder: Folder, name: str, member: Member) -> None:
        if member.type is MemberType.DIRECTORY:
            folder.files.pop(name, None)
            folder.folders.setdefault(name, Folder()).meta = _meta(member)
            return
        checksum = self._linked(member) if member.type is MemberType.HARDLINK else self._store(member)
        folder.folders.pop(name, None)
        folder.files[name] = checksum

    def _linked(self, member: Member) -> bytes:
        target = _names(member.linkname, member)
        written = self._written.get("/".join(target).encode())
        if written is not None:
            return written
        place = self._place(target)
        folder: Folder | None = self._root
        for name in place[:-1] if place else ():
            folder = folder.folders.get(name) if folder else None
        found = folder.files.get(place[-1]) if folder and place else None
        if found is None:
            raise ContainerInvalid(
                "link to what the layer does not have",
                path=show(member.path),
                target=show(member.linkname),
                offset=member.offset,
            )
        return found

    def _store(self, member: Member) -> bytes:
        """Put a file or symlink into the repository; its checksum."""
        if member.type is MemberType.SYMLINK:
            header = _header(member, stat.S_IFLNK | member.mode, _text(member.linkname, member))
            checksum = checksum_file(header, ())
            self._put_file(checksum, header, 0, ())
            return checksum
        if member.type is not MemberType.FILE or member.sparse is not None:
            raise ContainerInvalid(
                "layer has what a commit cannot", path=show(member.path), type=member.type.value, offset=member.offset
            )
        header = _header(member, stat.S_IFREG | member.mode, "")
        with SpooledTemporaryFile(max_size=HELD) as held:
            for chunk in member.chunks():
                held.write(chunk)
            checksum = checksum_file(header, _blocks(held))
            self._put_file(checksum, header, member.size, _blocks(held))
        return checksum


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block


def _names(path: bytes, member: Member) -> tuple[str, ...]:
    """The components of a path; one that begins at the root of the image is the same without. Raises UnsafePath."""
    return tuple(_text(part, member) for part in split(path.lstrip(b"/")))


def _text(name: bytes, member: Member) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ContainerInvalid("name is not UTF-8", path=show(member.path), offset=member.offset) from error


def _meta(member: Member) -> bytes:
    if member.type is not MemberType.DIRECTORY:
        raise ContainerInvalid("root is not a folder", path=show(member.path), offset=member.offset)
    header = _header(member, stat.S_IFREG | member.mode, "")  # for its checks
    return DirMeta(header.uid, header.gid, stat.S_IFDIR | member.mode, header.xattrs).encode()


def _header(member: Member, mode: int, target: str) -> FileHeader:
    return file_header(member, mode, target, tuple((name + b"\0", value) for name, value in member.xattrs))
