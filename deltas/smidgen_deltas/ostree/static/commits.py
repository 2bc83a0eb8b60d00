"""The files of a commit, as a generator of deltas needs them: where they lie, how large they are, and their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from smidgen_deltas.engine.scratch import gather
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.ostree.objects import FileHeader, ObjectName
from smidgen_deltas.ostree.repo import FileObject
from smidgen_deltas.ostree.walk import Visited, closure


class ObjectReader(Protocol):
    """Where objects are read from, each verified; `repo.Repository` is one. Used by several threads."""

    def metadata(self, name: ObjectName) -> bytes: ...
    def open_file(self, checksum: bytes) -> AbstractContextManager[FileObject]: ...


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file object. path: where it was met first; size: 0 for symlinks."""

    checksum: bytes
    path: str
    header: FileHeader
    size: int


def visit(reader: ObjectReader, commit: bytes | None) -> list[Visited]:
    """All objects of a commit, the commit itself among them; nothing for None."""
    return [] if commit is None else list(closure(reader.metadata, commit))


def file_facts(reader: ObjectReader, visited: Iterable[Visited]) -> list[FileFacts]:
    """The file objects among `visited`, without reading their content."""
    found = []
    for one in visited:
        if one.data is None:
            with reader.open_file(one.name.checksum) as opened:
                found.append(FileFacts(one.name.checksum, one.path, opened.header, opened.size))
    return found


def content(reader: ObjectReader, checksum: bytes) -> Buffer:
    """All bytes of a file, verified; large ones are mapped from a temporary file. Raises what the reader raises."""
    with reader.open_file(checksum) as opened:
        return gather(opened.chunks, opened.size)
