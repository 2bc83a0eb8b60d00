"""The whole update surface as static files, for any web server or bucket.

Names are the paths below the server's base URL, so clients work from either: `u/` for our own client, `ostree/<repo>/`
for stock ostree. Only public repositories are written unless others are named.

The order is safe at every moment, also while others publish: what names things (refs, summaries, ref documents) is read
first and written last; between them come the blobs, objects and deltas that it needs. When these are durable, the names
follow; in the end, if wished, what nothing names any more is removed, names before what they named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.refdoc import encode_keys
from smidgen_deltas.ostree.deltaname import index_path
from smidgen_deltas.ostree.objects import ObjectName, ObjectType, loose_path
from smidgen_server.index import ostree, static_deltas, surface
from smidgen_server.index.content import Extent
from smidgen_server.index.repos import RepoRow, listing
from smidgen_server.services import refs
from smidgen_server.services.export_target import Target
from smidgen_server.services.filez import filez_pieces
from smidgen_server.services.ostree_files import delta_index, small_file

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

OURS: Final = ("u/", "ostree/")
FIRST_GONE: Final = ("u/refs/", "/refs/heads/", "/summary", "/delta-indexes/")
OBJECTS_AT_ONCE: Final = 1000
Blocks = Callable[[], Iterable[bytes]]


@dataclass(slots=True)
class Exported:
    """Files that were written (of these `repaired` because their bytes were wrong), were there already, were removed;
    bytes written."""

    written: int = 0
    repaired: int = 0
    kept: int = 0
    removed: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Names:
    """A repository as it was at one moment.

    Args:
        small: (name, body) of what stock ostree reads that changes, in the order in which it is to be written.
        documents: (name, body) of the ref documents.
    """

    id: int
    kind: refs.Kind
    name: str
    small: tuple[tuple[str, bytes], ...]
    documents: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, services: Services, row: RepoRow) -> _Names:
        kind: refs.Kind = "ostree" if row.kind == "ostree" else "oci"
        with services.index.read() as session:
            heads = [name for name, _ in surface.refs(session, row.id)]
        named = [refs.RefName(kind, row.name, head) for head in heads]
        documents = tuple((f"u/refs/{name}.json", refs.document(services, name)) for name in named)
        small = tuple(_small(services, row, heads)) if kind == "ostree" else ()
        return cls(row.id, kind, row.name, small, documents)


@dataclass(slots=True)
class _Export:
    services: Services
    target: Target
    announce: Callable[[Exported], None]
    there: dict[str, int]
    verify: bool
    named: set[str] = field(default_factory=set)
    done: Exported = field(default_factory=Exported)

    def forever(self, name: str, size: int, blocks: Blocks) -> None:
        """A file that never changes: one of that size is it, unless the bytes are to be verified."""
        if name in self.named:
            return
        self.named.add(name)
        if self.there.get(name) == size:
            if not self.verify or _sha256(self.target.blocks(name)) == _sha256(blocks()):
                self.done.kept += 1
                return
            self.done.repaired += 1
        self.target.put(name, blocks(), immutable=True)
        self._wrote(size)

    def now(self, name: str, body: bytes) -> None:
        """A small file that changes."""
        self.named.add(name)
        if self.there.get(name) == len(body) and self.target.read(name) == body:
            self.done.kept += 1
            return
        self.target.put(name, [body], immutable=False)
        self._wrote(len(body))

    def remove(self) -> None:
        """Remove our files that this export did not name."""
        gone = [name for name in self.there if name.startswith(OURS) and name not in self.named]
        for name in sorted(gone, key=lambda one: not any(part in one for part in FIRST_GONE)):
            self.target.remove(name)
            self.done.removed += 1

    def blob(self, digest: Digest) -> Iterator[bytes]:
        with self.services.blobs.open(digest) as blocks:
            yield from blocks

    def _wrote(self, size: int) -> None:
        self.done.written += 1
        self.done.bytes += size
        self.announce(self.done)


def export(
    services: Services,
    target: Target,
    names: Sequence[str] = (),
    *,
    prune: bool = False,
    verify: bool = False,
    announce: Callable[[Exported], None] = lambda _: None,
) -> Exported:
    """Bring a target up to date.

    Args:
        names: `ostree/NAME` or `oci/NAME` of repositories; all public ones by default.
        prune: remove what is under `u/` and `ostree/` there and not in this export.
        verify: read what is there already, and write it again where it is wrong.
        announce: called after each file that was written.
    Raises NotFound for a repository that there is not, StorageFull, StorageFailed. The target then has all that it had,
    and perhaps more.
    """
    run = _Export(services, target, announce, target.sizes(), verify)
    repos = [_Names.of(services, repo) for repo in _chosen(services, names)]
    for repo in repos:
        _blobs(run, repo)
        if repo.kind == "ostree":
            _objects(run, repo)
            _static_deltas(run, repo)
    target.settle()
    for name, body in [
        *(small for repo in repos for small in repo.small),
        ("u/keys.json", encode_keys(services.keys.public())),
        *(document for repo in repos for document in repo.documents),
    ]:
        run.now(name, body)
    target.settle()
    if prune:
        run.remove()
    return run.done


def _sha256(blocks: Iterable[bytes]) -> bytes:
    found = sha256()
    for block in blocks:
        found.update(block)
    return found.digest()


def _chosen(services: Services, names: Sequence[str]) -> list[RepoRow]:
    with services.index.read() as session:
        rows = listing(session)
    found = {f"{row.kind}/{row.name}": row for row in rows}
    missing = [name for name in names if name not in found]
    if missing:
        raise NotFound("no such repository", repo=missing[0], named="ostree/NAME or oci/NAME")
    return [found[name] for name in names] if names else [row for row in rows if row.public]


def _blobs(run: _Export, repo: _Names) -> None:
    """What clients of our own fetch for the revisions that the documents point at."""
    revisions = {refs.revision_of(body) for _, body in repo.documents}
    with run.services.index.read() as session:
        found = surface.blobs_of(session, repo.id, revisions)
    for digest in found:
        run.forever(f"u/blobs/{digest.hex}", run.services.blobs.stat(digest).size, partial(run.blob, digest))


def _objects(run: _Export, repo: _Names) -> None:
    """All objects that the repository shows, files in their `.filez` form."""
    with run.services.index.read() as session:
        names = ostree.names(session, repo.id)
    for start in range(0, len(names), OBJECTS_AT_ONCE):
        part = names[start : start + OBJECTS_AT_ONCE]
        with run.services.index.read() as session:
            found = ostree.servables(session, repo.id, [checksum for _, checksum in part])
        for (kind, checksum), row in found.items():
            path = loose_path(ObjectName(ObjectType(kind), checksum), "archive")
            pieces = [row.body] if row.body is not None else filez_pieces(row)
            size = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
            run.forever(f"ostree/{repo.name}/{path}", size, partial(_pieces, run, pieces))


def _pieces(run: _Export, pieces: Sequence[bytes | Extent]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            with run.services.blobs.open(piece.blob, piece.start, piece.length) as blocks:
                yield from blocks


def _static_deltas(run: _Export, repo: _Names) -> None:
    with run.services.index.read() as session:
        found = static_deltas.files(session, repo.id)
    for path, digest in found:
        run.forever(f"ostree/{repo.name}/{path}", run.services.blobs.stat(digest).size, partial(run.blob, digest))


def _small(services: Services, repo: RepoRow, heads: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Detached metadata, lists of deltas, refs, and last the summary."""
    base = f"ostree/{repo.name}"
    with services.index.read() as session:
        detached = ostree.all_detached(session, repo.id)
        targets = {name.target for name in static_deltas.listed(session, repo.id)}
    for commit, body in detached:
        yield f"{base}/objects/{commit.hex()[:2]}/{commit.hex()[2:]}.commitmeta", body
    for path in sorted(map(index_path, targets)):
        if (index := delta_index(services, repo.id, path)) is not None:
            yield f"{base}/{path}", index
    for path in ("config", *(f"refs/heads/{head}" for head in heads), "summary", "summary.sig"):
        if (found := small_file(services, repo.id, path)) is not None:
            yield f"{base}/{path}", found.body
