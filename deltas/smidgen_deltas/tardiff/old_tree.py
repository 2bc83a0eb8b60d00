"""What an applier finds below the folder that the old layers were extracted to, and by which path it can be opened.

Layers are put one on the other as a runtime does, but leniently: a name that cannot be placed is no source, that is
all. Paths that lead through a symlink of a lower layer are followed to where extraction puts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.whiteout import WhiteoutKind, understand
from smidgen_deltas.tardiff.bodies import Body, clean_name, members

MAX_LINKS: Final = 40
LONGEST: Final = 2048  # bytes of a path: appliers put a folder of theirs before it, and all of it is below PATH_MAX

_NOT_DEPLOYED: Final = (b"sysroot/ostree/", b"dev/", b"proc/", b"run/", b"sys/", b"tmp/")

Usable = Callable[[bytes], bool]


def any_path(path: bytes) -> bool:  # noqa: ARG001 - one of several rules
    """The rule for appliers that have the extracted tar before them."""
    return True


def deployed_path(path: bytes) -> bool:
    """The rule for appliers that know a deployed system: no repository of its image, no folders that are mounted over.

    Importers into ostree leave the latter out. Some appliers take names for UTF-8.
    """
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return not path.startswith(_NOT_DEPLOYED)


@dataclass(frozen=True, slots=True)
class OldFile:
    """An old file. path: by which appliers open it; names: all that it has."""

    data: memoryview
    path: bytes
    names: tuple[bytes, ...]


class OldTree:
    """The tree so far: layers are added from the lowest up."""

    def __init__(self) -> None:
        self._files: dict[bytes, Body] = {}
        self._links: dict[bytes, bytes] = {}
        self._folders: set[bytes] = set()  # paths that something was put below; some may be empty again

    def add(self, tar: Buffer) -> None:
        """Put a layer on top. Raises TarCorrupt, TarAmbiguous, TarUnsupported, TarLimit."""
        found = list(members(tar))
        for member, _ in found:
            self._erase(member)
        for member, body in found:
            path = self._placed(member.path)
            if path is not None and not _is_whiteout(path):
                self._put(path, member, body)

    def files(self, usable: Usable = any_path) -> Iterator[OldFile]:
        """Every file that can be a source: plain, readable by everybody, with a name that `usable` likes and that is
        not too long."""
        names: dict[int, list[bytes]] = {}
        held: dict[int, Body] = {}
        for path, body in self._files.items():
            held[id(body)] = body
            names.setdefault(id(body), []).append(path)
        for key, body in held.items():
            found = next((name for name in names[key] if len(name) <= LONGEST and usable(name)), None)
            if found is not None and body.readable and body.plain:
                yield OldFile(body.data, found, tuple(names[key]))

    def _erase(self, member: Member) -> None:
        path = self._placed(member.path)
        if path is None:
            return
        try:
            whiteout = understand(path)
        except UnsafePath:
            return
        if whiteout.kind is WhiteoutKind.REMOVE:
            self._forget(whiteout.target)
        if whiteout.kind in (WhiteoutKind.REMOVE, WhiteoutKind.CLEAR):
            self._clear(whiteout.target)

    def _put(self, path: bytes, member: Member, body: Body | None) -> None:
        if member.type is MemberType.HARDLINK:
            target = self._placed(member.linkname)
            body = self._files.get(target or b"")
        if member.type is not MemberType.DIRECTORY:
            self._clear(path)
        if member.type is not MemberType.DIRECTORY or path not in self._links:
            self._forget(path)
        if member.type is MemberType.SYMLINK:
            self._links[path] = member.linkname
        if body is not None:
            self._files[path] = body
        self._folders.update(_above(path))

    def _forget(self, path: bytes) -> None:
        self._files.pop(path, None)
        self._links.pop(path, None)

    def _clear(self, path: bytes) -> None:
        """Forget what is below a path."""
        if path and path not in self._folders:
            return
        below = path + b"/" if path else b""
        for known in (self._files, self._links):
            for name in [name for name in known if name.startswith(below)]:
                del known[name]

    def _placed(self, path: bytes) -> bytes | None:
        """Where extraction puts a path; None when that cannot be told."""
        name = clean_name(path)
        for _ in range(MAX_LINKS):
            link = next((above for above in _above(name or b"") if above in self._links), None)
            if name is None or link is None:
                return name
            target = self._links[link]
            base = b"" if target.startswith(b"/") else link.rpartition(b"/")[0]
            name = clean_name(_lexical(base, target) + name[len(link) :])
        return None


def _above(path: bytes) -> Iterable[bytes]:
    parts = path.split(b"/")
    return (b"/".join(parts[:count]) for count in range(1, len(parts)))


def _lexical(base: bytes, target: bytes) -> bytes:
    """`target` as seen from the folder `base`; what leads upward is followed as far as the top."""
    parts = [part for part in base.split(b"/") if part]
    for part in target.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def _is_whiteout(path: bytes) -> bool:
    try:
        return understand(path).kind is not WhiteoutKind.PLAIN
    except UnsafePath:
        return True
