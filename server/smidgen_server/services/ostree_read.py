"""Looking up ostree objects fast enough for clients that ask for one object per request.

A pull walks directory by directory, so the first look-up of a dirtree brings the rows of everything that it names in
one statement. Rows are kept at most TTL seconds and CACHE_BYTES bytes in all: an object that garbage collection
removed may be found for that long, and a repository that was made private may be read for REPO_SECONDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smidgen_deltas.ostree.objects import DirTree, ObjectType
from smidgen_server.index import ostree, repos
from smidgen_server.index.base import Index
from smidgen_server.index.ostree import Name, Servable
from smidgen_server.services.cache import BoundedCache
from smidgen_server.services.ostree_closure import children

CACHE_BYTES: Final = 24 << 20
TTL: Final = 60.0
REPO_SECONDS: Final = 2.0
REPOS: Final = 1000
ROW_COST: Final = 600  # bytes of Python objects around a row
MAX_BODY: Final = 256 << 10  # larger metadata is not kept
PREFETCH: Final = 2000  # names of one dirtree looked up ahead at most


@dataclass(frozen=True, slots=True)
class RepoRow:
    """A repository as readers meet it."""

    id: int
    public: bool


class OstreeReader:
    """Thread-safe. Opens database sessions: call it off the event loop."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._objects: BoundedCache[tuple[int, Name], Servable] = BoundedCache(CACHE_BYTES, TTL)
        self._repos: BoundedCache[str, RepoRow] = BoundedCache(REPOS, REPO_SECONDS)

    def repo(self, name: str) -> RepoRow | None:
        found = self._repos.get(name)
        if found is None:
            with self._index.read() as session:
                number = repos.find_repo(session, "ostree", name)
                public = repos.is_public(session, "ostree", name)
            if number is None or public is None:
                return None
            found = RepoRow(number, public)
            self._repos.put(name, found, 1)
        return found

    def known(self, repo: str, name: Name) -> Servable | None:
        """An object of a public repository, if it was looked up lately. Never touches the database."""
        found = self._repos.get(repo)
        return self._objects.get((found.id, name)) if found is not None and found.public else None

    def object(self, repo_id: int, name: Name) -> Servable | None:
        """An object that the repository shows."""
        found = self._objects.get((repo_id, name))
        if found is None:
            with self._index.read() as session:
                found = ostree.servable(session, repo_id, name)
            if found is not None:
                self._keep(repo_id, name, found)
        if found is not None and name[0] == ObjectType.DIRTREE and found.body is not None:
            self._prefetch(repo_id, found.body)
        return found

    def forget(self, repo_id: int, name: Name) -> None:
        """What was found turned out to be gone."""
        self._objects.forget((repo_id, name))

    def _keep(self, repo_id: int, name: Name, row: Servable) -> None:
        weight = len(row.body or b"") + len(row.header or b"")
        if weight <= MAX_BODY:
            self._objects.put((repo_id, name), row, ROW_COST + weight)

    def _prefetch(self, repo_id: int, body: bytes) -> None:
        tree = DirTree.decode(body)
        names: list[Name] = [(ObjectType.FILE, checksum) for _, checksum in tree.files]
        names += children(tree)
        wanted = {name[1] for name in names[:PREFETCH] if self._objects.get((repo_id, name)) is None}
        if not wanted:
            return
        with self._index.read() as session:
            rows = ostree.servables(session, repo_id, wanted)
        for name, row in rows.items():
            self._keep(repo_id, name, row)
