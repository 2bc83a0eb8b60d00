"""Layers of a commit as tar streams: metadata and what is left in the first one, chunks behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree.container.contents import CommitReader, StoredContent, file_name
from smidgen_deltas.ostree.container.layout import (
    CONFIG,
    FOLDERS,
    MAX_XATTRS,
    REPO,
    deployed,
    link_path,
    object_path,
)
from smidgen_deltas.ostree.container.tar_members import (
    END,
    file_member,
    folder,
    hard_link,
    member,
    plain_folder,
    small_file,
)
from smidgen_deltas.ostree.container.tar_members import FILE as REGULAR
from smidgen_deltas.ostree.header import encode_xattrs
from smidgen_deltas.ostree.objects import Commit, DirMeta, ObjectName, ObjectType
from smidgen_deltas.ostree.walk import closure, paths

MAX_OBJECT: Final = 10 << 20  # of metadata, as importers of this layout take it
_TEMPORARY: Final = "var/tmp"
_STICKY: Final = 0o1777


def commit_layer(repo: CommitReader, commit: bytes, contents: Iterable[StoredContent]) -> Iterator[bytes]:
    """The first layer: all metadata of `commit`, its folders, and `contents`.

    Raises NotFound, FormatError, DigestMismatch, LimitExceeded; what was yielded is no layer then.
    """
    root = Commit.decode(repo.metadata(ObjectName(ObjectType.COMMIT, commit))).root_meta
    yield folder(".", DirMeta.decode(repo.metadata(ObjectName(ObjectType.DIRMETA, root))))
    yield from _repository()
    yield from _metadata(repo, commit)
    yield from _folders(repo, commit)
    yield from _contents(repo, contents)


def chunk_layer(repo: CommitReader, contents: Iterable[StoredContent]) -> Iterator[bytes]:
    """A layer with contents only. Raises as `commit_layer`."""
    yield from _repository()
    yield from _contents(repo, contents)


def _repository() -> Iterator[bytes]:
    for name in FOLDERS:
        yield plain_folder(name)
    yield small_file(f"{REPO}/config", CONFIG)


def _metadata(repo: CommitReader, commit: bytes) -> Iterator[bytes]:
    """The commit first, its detached metadata directly behind it."""
    for visited in closure(repo.metadata, commit):
        if visited.data is None:
            continue
        if len(visited.data) > MAX_OBJECT:
            raise LimitExceeded("metadata object is too large for an image", object=str(visited.name), limit=MAX_OBJECT)
        yield small_file(object_path(visited.name), visited.data)
        if visited.name.type is ObjectType.COMMIT and (detached := repo.commitmeta(commit)) is not None:
            yield small_file(object_path(ObjectName(ObjectType.COMMITMETA, commit)), detached)


def _folders(repo: CommitReader, commit: bytes) -> Iterator[bytes]:
    """The folders of the tree, but for the root, and for `sysroot`, which is there already."""
    temporary = False
    for path, _, meta in paths(repo.metadata, commit):
        if meta is None or not path or _hidden(path):
            continue
        temporary = temporary or path == _TEMPORARY
        yield folder(deployed(path), DirMeta.decode(repo.metadata(ObjectName(ObjectType.DIRMETA, meta))))
    if not temporary:
        yield plain_folder(_TEMPORARY, _STICKY)


def _hidden(path: str) -> bool:
    return path == "sysroot" or path.startswith("sysroot/")


def _contents(repo: CommitReader, contents: Iterable[StoredContent]) -> Iterator[bytes]:
    for content in contents:
        yield from _content(repo, content)
    yield END


def _content(repo: CommitReader, content: StoredContent) -> Iterator[bytes]:
    """Xattrs, object, names; empty files are no links, so that whoever writes to one does not write to the object."""
    place = object_path(file_name(content))
    with repo.open_file(content.checksum) as opened:
        header = opened.header
        xattrs = encode_xattrs(header.xattrs)
        if len(xattrs) > MAX_XATTRS:
            raise LimitExceeded("too many xattrs for an image", object=content.checksum.hex(), limit=MAX_XATTRS)
        yield small_file(link_path(content.checksum), xattrs)
        yield from file_member(place, header, opened.size, opened.chunks)
        empty = not header.is_symlink and not opened.size
    for path in content.paths:
        if _hidden(path):
            continue
        if empty:
            yield member(deployed(path), REGULAR, header.uid, header.gid, header.mode & 0o7777)
        else:
            yield hard_link(deployed(path), header, place)
