"""A tree in memory: names, file objects, metadata of folders; laid over each other as layers are.

How one tree lies over another is what libostree's checkout does with `process_whiteouts` and overwriting by union
(ostree-repo-checkout.c), which ostree-ext merges layers with: a folder that is there already keeps its owner and mode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree.container.contents import MAX_PATHS
from smidgen_deltas.ostree.objects import DirMeta, DirTree, ObjectName, ObjectType

ReadMetadata = Callable[[ObjectName], bytes]
PutMetadata = Callable[[ObjectName, bytes], None]

IMPLIED: Final = DirMeta(0, 0, 0o40755)  # of folders that a layer does not name


@dataclass(slots=True)
class Folder:
    """A folder of a tree, or of a layer.

    Args:
        meta: encoded dirmeta.
        files: name -> checksum of the file object.
        gone: names that the layers below must not show; opaque: none of theirs.
    """

    meta: bytes = field(default_factory=IMPLIED.encode)
    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    opaque: bool = False

    def lay(self, top: Folder) -> None:
        """Put the content of a layer's folder over what is here. `top` is used up."""
        for name in top.gone:
            self.files.pop(name, None)
            self.folders.pop(name, None)
        for name, checksum in top.files.items():
            self.folders.pop(name, None)
            self.files[name] = checksum
        for name, folder in top.folders.items():
            self.files.pop(name, None)
            below = self.folders.get(name)
            if below is None or folder.opaque:
                self.folders[name] = folder
            else:
                below.lay(folder)

    def find(self, path: str) -> Folder | None:
        """The folder at a path below this one."""
        found: Folder | None = self
        for name in path.split("/"):
            found = found.folders.get(name) if found else None
        return found

    def write(self, put: PutMetadata) -> tuple[bytes, bytes]:
        """Store the metadata objects; checksums of dirtree and dirmeta."""
        dirs: list[tuple[str, bytes, bytes]] = []
        for name in sorted(self.folders, key=str.encode):  # a comprehension is a frame of its own: trees may be deep
            dirs.append((name, *self.folders[name].write(put)))
        files = sorted(self.files.items(), key=lambda entry: entry[0].encode())
        tree = DirTree(tuple(files), tuple(dirs)).encode()
        return _put(put, ObjectType.DIRTREE, tree), _put(put, ObjectType.DIRMETA, self.meta)


def read_folder(read: ReadMetadata, tree: bytes, meta: bytes) -> Folder:
    """The tree of a commit whose objects are all there. Raises LimitExceeded, what `read` raises."""
    return _read(read, tree, meta, [MAX_PATHS])


def _read(read: ReadMetadata, tree: bytes, meta: bytes, left: list[int]) -> Folder:
    listing = DirTree.decode(read(ObjectName(ObjectType.DIRTREE, tree)))
    left[0] -= len(listing.files) + len(listing.dirs)
    if left[0] < 0:
        raise LimitExceeded("too many paths in a commit", limit=MAX_PATHS)
    folder = Folder(read(ObjectName(ObjectType.DIRMETA, meta)), dict(listing.files))
    for name, below, its_meta in listing.dirs:
        folder.folders[name] = _read(read, below, its_meta, left)
    return folder


def _put(put: PutMetadata, kind: ObjectType, data: bytes) -> bytes:
    checksum = hashlib.sha256(data).digest()
    put(ObjectName(kind, checksum), data)
    return checksum
