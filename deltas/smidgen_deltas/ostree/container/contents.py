"""Which contents of a commit go into which layer.

Content is grouped by the first folders of its path, as deep as packages usually differ. The largest groups get layers
of their own, what is left stays beside the metadata; so a layer changes only when its folders do.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import FileObject
from smidgen_deltas.ostree.walk import paths

GROUP_DEPTH: Final = 3
MAX_CHUNKS: Final = 64
MAX_PATHS: Final = 4_000_000


class CommitReader(Protocol):
    """Where a commit is read from: a repository, or what a server keeps."""

    def metadata(self, name: ObjectName) -> bytes:
        """A dirtree, dirmeta or commit, verified. Raises NotFound."""
        ...

    def open_file(self, checksum: bytes) -> AbstractContextManager[FileObject]:
        """A file object; it is verified while its chunks are read. Raises NotFound."""
        ...

    def commitmeta(self, commit: bytes) -> bytes | None:
        """Detached metadata of a commit."""
        ...

    def is_partial(self, commit: bytes) -> bool:
        """Whether objects of the commit may be missing."""
        ...


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A file object and where it is in the tree, in the order of `walk.paths`."""

    checksum: bytes
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Contents that have a layer of their own. name: the folder that they are from."""

    name: str
    contents: tuple[StoredContent, ...]


def read_contents(repo: CommitReader, commit: bytes) -> tuple[StoredContent, ...]:
    """Every content of a commit once. Raises NotFound, FormatError, DigestMismatch, LimitExceeded."""
    found: dict[bytes, list[str]] = {}
    for count, (path, name, _) in enumerate(paths(repo.metadata, commit)):
        if count >= MAX_PATHS:
            raise LimitExceeded("too many paths in a commit", commit=commit.hex(), limit=MAX_PATHS)
        if name.type is ObjectType.FILE:
            found.setdefault(name.checksum, []).append(path)
    return tuple(StoredContent(checksum, tuple(names)) for checksum, names in found.items())


def split(
    repo: CommitReader, contents: Iterable[StoredContent], chunks: int
) -> tuple[tuple[Chunk, ...], tuple[StoredContent, ...]]:
    """At most `chunks` chunks, the largest first, and what is left.

    Raises LimitExceeded when so many layers are more than runtimes take, ObjectMissing.
    """
    if not 0 <= chunks <= MAX_CHUNKS:
        raise LimitExceeded("too many layers", chunks=chunks, limit=MAX_CHUNKS)
    groups: dict[str, list[StoredContent]] = {}
    for content in contents:
        groups.setdefault(_group(content.paths[0]), []).append(content)
    sizes = {name: sum(_size(repo, one) for one in group) for name, group in groups.items()}
    order = sorted(groups, key=lambda name: (-sizes[name], name))
    made = tuple(Chunk(name, tuple(groups[name])) for name in order[:chunks])
    return made, tuple(content for name in order[chunks:] for content in groups[name])


def _group(path: str) -> str:
    return "/".join(path.split("/")[:-1][:GROUP_DEPTH]) or "/"


def _size(repo: CommitReader, content: StoredContent) -> int:
    with repo.open_file(content.checksum) as opened:
        return opened.size


def file_name(content: StoredContent) -> ObjectName:
    """The object of a content."""
    return ObjectName(ObjectType.FILE, content.checksum)
