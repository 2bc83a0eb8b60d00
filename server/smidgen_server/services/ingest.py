"""Taking a commit with everything below it from a source into a repository.

Two passes: the metadata is walked breadth-first, so that what is missing (and the progress) is known; then the missing
files are taken, several at once. What the repository has is skipped; what another repository of this server has is
only made visible (publishing and mirroring are for those who may write here; the push API does not do this). All that
was committed stays when the process is killed, and the next run skips it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smidgen_deltas.errors import DigestMismatch
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, ObjectType
from smidgen_server.blobs.staging import storage_errors
from smidgen_server.index import guard, ostree
from smidgen_server.index.batches import batches
from smidgen_server.index.ostree import Name
from smidgen_server.services.ostree_check import CheckedFile
from smidgen_server.services.ostree_closure import children
from smidgen_server.services.ostree_source import ObjectSource
from smidgen_server.services.ostree_store import ObjectWriter
from smidgen_server.services.parallel import ordered
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

AHEAD: Final = 4  # files per thread in work or waiting to be stored


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did: objects taken from the source, and their plain bytes."""

    objects: int
    bytes: int


def ingest_commit(
    services: Services, repo_id: int, source: ObjectSource, commit: bytes, progress: Progress
) -> Ingested:
    """Make the repository have the commit and all it names; the commit itself stays staged.

    Raises whatever the source raises, and IntegrityError for objects that are not what their names say.
    """
    return _Ingest(services, repo_id, source, progress).run(commit)


class _Ingest:
    def __init__(self, services: Services, repo_id: int, source: ObjectSource, progress: Progress) -> None:
        self._services, self._repo_id = services, repo_id
        self._source, self._progress = source, progress
        self._scratch = scratch_dir(services)

    def run(self, commit: bytes) -> Ingested:
        with ObjectWriter(self._services.index, self._services.blobs, self._repo_id) as writer:
            files = self._walk(writer, commit)
            missing = [checksum for part in batches(files) for checksum in self._missing_files(part)]
            total = self._take_files(writer, missing)
            detached = self._source.detached(commit)
            writer.commit()
        if detached is not None:
            with self._services.index.session() as session:
                ostree.set_detached(session, self._repo_id, commit, detached)
        return Ingested(writer.stored, total)

    def _walk(self, writer: ObjectWriter, commit: bytes) -> list[bytes]:
        """Take all metadata below the commit; returns the checksums of all files, each once."""
        parsed = Commit.decode(self._metadata(writer, [(ObjectType.COMMIT, commit)])[0])
        frontier: list[Name] = [(ObjectType.DIRTREE, parsed.root_tree), (ObjectType.DIRMETA, parsed.root_meta)]
        seen, files = set(frontier), dict[bytes, None]()
        while frontier:
            below: list[Name] = []
            for part in batches(frontier):
                for (kind, _), body in zip(part, self._metadata(writer, part), strict=True):
                    if kind == ObjectType.DIRTREE:
                        tree = DirTree.decode(body)
                        files.update((checksum, None) for _, checksum in tree.files)
                        fresh = dict.fromkeys(name for name in children(tree) if name not in seen)
                        seen.update(fresh)
                        below += fresh
                    else:
                        DirMeta.decode(body)
            frontier = below
            self._progress(len(seen), 0, "metadata objects")
        return list(files)

    def _metadata(self, writer: ObjectWriter, names: Sequence[Name]) -> list[bytes]:
        """Bodies in the order of `names`, from the index where it has them, else verified from the source."""
        found = self._stored(names)
        lacking = [name for name in names if name not in found]
        threads = self._source.threads
        for name, body in ordered(self._fetch, lacking, threads=threads, ahead=AHEAD * threads):
            writer.put_metadata(ObjectType(name[0]), name[1], body)
            found[name] = body
        return [found[name] for name in names]

    def _fetch(self, name: Name) -> tuple[Name, bytes]:
        kind, checksum = ObjectType(name[0]), name[1]
        body = self._source.metadata(kind, checksum)
        if hashlib.sha256(body).digest() != checksum:
            raise DigestMismatch(
                "metadata object does not match its checksum",
                type=kind.name.lower(),
                expected=checksum.hex(),
                found=hashlib.sha256(body).hexdigest(),
            )
        return name, body

    def _stored(self, names: Sequence[Name]) -> dict[Name, bytes]:
        """Bodies that the index has; they become visible in the repository if they are not."""
        with self._services.index.session() as session:
            guard.share(session)
            known = ostree.known(session, names)
            shown = ostree.visible(session, self._repo_id, names)
            ostree.touch(session, self._repo_id, shown.values(), now=int(time.time()))
            fresh = {number: name[0] == ObjectType.COMMIT for name, number in known.items() if name not in shown}
            ostree.show(session, self._repo_id, fresh, now=int(time.time()))
            return ostree.bodies(session, known.values())

    def _missing_files(self, checksums: Sequence[bytes]) -> list[bytes]:
        names: list[Name] = [(ObjectType.FILE, checksum) for checksum in checksums]
        with self._services.index.session() as session:
            guard.share(session)
            shown = ostree.visible(session, self._repo_id, names)
            ostree.touch(session, self._repo_id, shown.values(), now=int(time.time()))
            known = ostree.known(session, [name for name in names if name not in shown])
            ostree.show(session, self._repo_id, dict.fromkeys(known.values(), False), now=int(time.time()))
        return [name[1] for name in names if name not in shown and name not in known]

    def _take_files(self, writer: ObjectWriter, missing: Sequence[bytes]) -> int:
        threads, total = self._source.threads, 0
        taken = ordered(self._file, missing, threads=threads, ahead=AHEAD * threads, discard=CheckedFile.close)
        for count, checked in enumerate(taken, 1):
            total += checked.size
            writer.put_file(checked)
            self._progress(count, len(missing), "files")
        return total

    def _file(self, checksum: bytes) -> CheckedFile:
        return self._source.file(checksum, self._scratch)


def scratch_dir(services: Services) -> Path:
    """Where files larger than memory wait while they are verified."""
    path = services.settings.data / "scratch"
    with storage_errors():
        path.mkdir(parents=True, exist_ok=True)
    return path
