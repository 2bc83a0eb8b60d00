"""Where an ingest takes ostree objects from: a protocol, and the local repository as one. A remote one is in
`ostree_remote`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services.ostree_check import CheckedFile, check_file, check_filez

CPU_THREADS: Final = 2  # hashing and deflating; more only cost memory


class ObjectSource(Protocol):
    """Reads objects of one repository. Thread-safe.

    threads: how many files to ask for at once.
    """

    threads: int

    def metadata(self, kind: ObjectType, checksum: bytes) -> bytes:
        """The bytes of a dirtree, dirmeta or commit; the caller checks them."""
        ...

    def file(self, checksum: bytes, scratch: Path) -> CheckedFile:
        """A verified file object."""
        ...

    def detached(self, commit: bytes) -> bytes | None:
        """Detached metadata (signatures) of a commit."""
        ...


class LocalSource:
    """A repository on this machine, in any mode. Files of archive repositories keep their deflated bytes."""

    threads = CPU_THREADS

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def metadata(self, kind: ObjectType, checksum: bytes) -> bytes:
        return self._repository.metadata(ObjectName(kind, checksum))

    def file(self, checksum: bytes, scratch: Path) -> CheckedFile:
        if self._repository.mode == "archive":
            with self._repository.filez(checksum) as (header, size, stream):
                return check_filez(checksum, header, size, stream, scratch)
        with self._repository.open_file(checksum) as found:
            return check_file(checksum, found.header, found.size, found.chunks, scratch)

    def detached(self, commit: bytes) -> bytes | None:
        return self._repository.commitmeta(commit)
