"""Layers applied in order, giving one tree (image-spec 1.1, layer.md, "Applying Changesets").

Rules enforced here
 * a whiteout deletes only what lower layers have, wherever it stands in its own layer
 * of two entries with one path the later one counts; within one layer that is reported (`duplicates`)
 * a path whose parent is a file or symlink is refused: runtimes disagree whether the link is followed or replaced
 * a hard link shares what its target is at that moment; replacing the target later leaves the link alone
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from smidgen_deltas.tar.entries import ROOT, Entry
from smidgen_deltas.tar.errors import TarCorrupt, TarLimit, UnsafePath
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.paths import show, split
from smidgen_deltas.tar.whiteout import WhiteoutKind, understand

MAX_ENTRIES: Final = 4_000_000
MAX_REPORTED: Final = 1000
IMPLICIT_MODE: Final = 0o755


class _Inode:
    """What one or several paths stand for."""

    __slots__ = ("entry", "shared")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.shared = False


class _Node:
    """One path. `children` is None for all but directories; `layer` is the one that last named it, -1 for none."""

    __slots__ = ("children", "inode", "layer")

    def __init__(self, inode: _Inode, layer: int) -> None:
        self.inode = inode
        self.layer = layer
        self.children: dict[bytes, _Node] | None = {} if inode.entry.type is MemberType.DIRECTORY else None


def _directory(path: bytes, layer: int) -> _Node:
    return _Node(_Inode(Entry(path, MemberType.DIRECTORY, IMPLICIT_MODE, 0, 0, 0)), layer)


class MergedTree:
    """The tree so far. Feed layers from the lowest up, each with `apply`.

    Attributes:
        duplicates: paths that one layer named twice, the first MAX_REPORTED of them.
    """

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._count = 0
        self._layer = -1
        self._root = _directory(ROOT, -1)
        self.duplicates: list[bytes] = []

    def apply(self, layer: Iterable[Entry]) -> None:
        """Put one more layer on top.

        Raises:
            UnsafePath: a parent that is no directory, a whiteout without a name.
            TarCorrupt: a hard link to nothing or to a directory.
            TarLimit: too many entries.
        """
        self._layer += 1
        additions = []
        for entry in layer:
            self._count += 1
            if self._count > self._limit:
                raise TarLimit("too many entries in the layers", limit=self._limit)
            whiteout = understand(entry.path)
            if whiteout.kind is WhiteoutKind.PLAIN:
                additions.append(entry)
            elif whiteout.kind is WhiteoutKind.CLEAR:
                self._clear(whiteout.target)
            elif whiteout.kind is WhiteoutKind.REMOVE:
                self._remove(whiteout.target)
        for entry in additions:
            self._add(entry)

    def get(self, path: bytes) -> Entry | None:
        """What a clean path stands for, hard links resolved; None when there is nothing."""
        node = self._find(split(path))
        return replace(node.inode.entry, path=path) if node else None

    def entries(self) -> Iterator[Entry]:
        """All entries, parents first, siblings by their names' bytes. The first path of a shared file has its content,
        the others are hard links to that path. The root comes only when a layer describes it.
        """
        firsts: dict[int, bytes] = {}
        stack = [(ROOT, self._root)]
        while stack:
            path, node = stack.pop()
            if path or node.layer >= 0:
                yield _placed(path, node.inode, firsts)
            prefix = path + b"/" if path else b""
            if node.children:
                stack.extend((prefix + name, node.children[name]) for name in sorted(node.children, reverse=True))

    # -- changes ----------------------------------------------------------------------------------------------------

    def _find(self, parts: tuple[bytes, ...]) -> _Node | None:
        node = self._root
        for part in parts:
            found = node.children.get(part) if node.children else None
            if found is None:
                return None
            node = found
        return node

    def _clear(self, path: bytes) -> None:
        node = self._find(split(path))
        if node and node.children:
            node.children.clear()

    def _remove(self, path: bytes) -> None:
        *above, name = split(path)
        parent = self._find(tuple(above))
        if parent and parent.children:
            parent.children.pop(name, None)

    def _add(self, entry: Entry) -> None:
        parts = split(entry.path)
        if not parts:
            if entry.type is not MemberType.DIRECTORY:
                raise UnsafePath("root of the tree is not a directory", type=entry.type)
            self._root.inode, self._root.layer = _Inode(entry), self._layer
            return
        siblings = self._siblings(parts[:-1], entry.path)
        old = siblings.get(parts[-1])
        if old and old.layer == self._layer and len(self.duplicates) < MAX_REPORTED:
            self.duplicates.append(entry.path)
        node = self._node(entry)
        if old and old.children is not None and node.children is not None:
            node.children = old.children
        siblings[parts[-1]] = node

    def _siblings(self, parts: tuple[bytes, ...], path: bytes) -> dict[bytes, _Node]:
        """The children of a directory that is made where it does not exist."""
        children = self._root.children or {}
        self._root.children = children
        for depth, part in enumerate(parts, 1):
            node = children.get(part)
            if node is None:
                node = children[part] = _directory(b"/".join(parts[:depth]), -1)
            if node.children is None:
                raise UnsafePath("parent of a path is not a directory", path=show(path))
            children = node.children
        return children

    def _node(self, entry: Entry) -> _Node:
        if entry.type is not MemberType.HARDLINK:
            return _Node(_Inode(entry), self._layer)
        target = self._find(split(entry.linkname))
        if target is None or target.children is not None:
            raise TarCorrupt("hard link to what is not a file", path=show(entry.path), target=show(entry.linkname))
        target.inode.shared = True
        return _Node(target.inode, self._layer)


def _placed(path: bytes, inode: _Inode, firsts: dict[int, bytes]) -> Entry:
    entry = inode.entry
    if inode.shared:
        first = firsts.setdefault(id(inode), path)
        if first != path:
            return replace(
                entry, path=path, type=MemberType.HARDLINK, linkname=first, size=0, content=None, sparse=None, xattrs=()
            )
    return entry if entry.path == path else replace(entry, path=path)


def merge(layers: Iterable[Iterable[Entry]], limit: int = MAX_ENTRIES) -> MergedTree:
    """Apply all layers, lowest first. See `MergedTree.apply` for what is refused."""
    tree = MergedTree(limit)
    for layer in layers:
        tree.apply(layer)
    return tree
