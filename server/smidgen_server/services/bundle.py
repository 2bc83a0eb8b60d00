"""Bundles: what devices without a network need to get to some refs, in one signed file (native/BUNDLE-FORMAT.md).

From named revisions it holds deltas, made now where there are none; for devices that have nothing, or other revisions,
the packs, if that is wished. Ref documents are signed anew, to expire with the bundle.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, UnsupportedFeature
from smidgen_deltas.native.bundle import Entry, encode_head
from smidgen_deltas.native.packmap import decode_packmap
from smidgen_deltas.native.refdoc import DeltaOffer, Piece, RefDocument, encode_keys, sign, verify
from smidgen_deltas.native.tree import OciTree, decode_tree
from smidgen_server.delta_process import RECIPES, threads
from smidgen_server.index import repos, surface
from smidgen_server.services import delta_plan, delta_smidgen, refs
from smidgen_server.services.delta_cost import read_part
from smidgen_server.services.delta_formats import Work

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

BLOCK: Final = 1 << 20
Say = Callable[[str], None]
Blocks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Bundled:
    """What was written: bytes, files, and for each ref the revisions that there are deltas from."""

    size: int
    files: int
    deltas: dict[str, list[str]]


@dataclass(slots=True)
class _Contents:
    """Files of a bundle, by name, with what gives their bytes."""

    services: Services
    files: dict[str, tuple[Entry, Blocks]] = field(default_factory=dict)

    def small(self, name: str, body: bytes) -> None:
        self.files[name] = (Entry(name, len(body), Digest.of(body).raw), lambda: iter((body,)))

    def blob(self, digest: Digest) -> None:
        """A blob of the server's store."""
        if digest.algorithm != "sha256":
            raise UnsupportedFeature("a bundle has blobs by sha256 only", digest=str(digest))
        size = self.services.blobs.stat(digest).size
        self._add(digest, size, lambda: _stored(self.services, digest))

    def file(self, digest: Digest, size: int, file: IO[bytes]) -> None:
        """A blob that is in a file."""
        self._add(digest, size, lambda: _read(file))

    def _add(self, digest: Digest, size: int, blocks: Blocks) -> None:
        name = f"u/blobs/{digest.hex}"
        self.files[name] = (Entry(name, size, digest.raw), blocks)


def write(
    services: Services, out: BinaryIO, names: Sequence[refs.RefName], sources: Sequence[str], valid: int, say: Say,
    *, full: bool,
) -> Bundled:  # fmt: skip
    """Write a bundle of some refs.

    Args:
        sources: revisions to come from, as `delta_plan.named` takes them, each in the repositories that have it.
        valid: seconds until it expires.
        full: also all that a device needs which has none of them. Always so without sources.
        say: told what is being done.
    Raises RefUnknown, NotFound for a source that no repository has, StorageError and what making a delta raises.
    """
    now = int(time.time())
    contents, found = _Contents(services), dict[str, list[str]]()
    contents.small("u/keys.json", encode_keys(services.keys.public()))
    known: set[str] = set()
    with ExitStack() as scratch:
        for name in names:
            document = verify(refs.document(services, name), services.keys.public())
            target = _revision(services, name, document.revision)
            offers: list[DeltaOffer] = []
            for text in sources:
                source = _source(services, target.repo_id, text)
                known |= {text} if source else set()
                if source and source.id != target.id:
                    offers += _offers(services, document, source, target, contents, scratch, say)
            whole = full or not sources
            _blobs(services, document, contents, full=whole)
            found[str(name)] = [str(offer.sources[0]) for offer in offers]
            packs = document.packs if whole else None
            fresh = replace(document, expires=now + valid, packs=packs, deltas=tuple(offers))
            contents.small(f"u/refs/{name}.json", sign(fresh, *services.keys.signers()))
        if missing := [text for text in sources if text not in known]:
            raise NotFound("no repository of these refs has such a revision", revision=missing[0][:200])
        say("writing the bundle")
        entries = [entry for entry, _ in contents.files.values()]
        size = out.write(encode_head(entries, now, now + valid, services.keys.signers()))
        for _, blocks in contents.files.values():
            for block in blocks():
                size += out.write(block)
    return Bundled(size, len(entries), found)


def _revision(services: Services, name: refs.RefName, digest: Digest) -> surface.Revision:
    with services.index.read() as session:
        repo_id = repos.find_repo(session, name.kind, name.repo)
        found = surface.find_revision(session, repo_id, digest) if repo_id is not None else None
    if found is None:
        raise refs.RefUnknown("no such ref", ref=str(name))
    return found


def _source(services: Services, repo_id: int, text: str) -> surface.Revision | None:
    """The revision in this repository, if it has one of that name."""
    with services.index.read() as session:
        try:
            numbers = delta_plan.named(session, repo_id, text)
        except NotFound:
            return None
        return surface.get_revision(session, numbers[0])


def _offers(
    services: Services, document: RefDocument, source: surface.Revision, target: surface.Revision, contents: _Contents,
    scratch: ExitStack, say: Say,
) -> list[DeltaOffer]:  # fmt: skip
    """The deltas from a revision: those that are offered, or one that is made now."""
    ready = [offer for offer in document.deltas if offer.sources == (source.digest,)]
    if ready:
        smallest = min(ready, key=lambda offer: offer.piece.size)
        lightest = min(ready, key=lambda offer: (offer.memory, offer.piece.size))
        chosen = list(dict.fromkeys((smallest, lightest)))
        for offer in chosen:
            contents.blob(offer.piece.digest)
        return chosen
    say(f"making the delta from {source.digest} to {target.digest}")
    file = scratch.enter_context(tempfile.TemporaryFile(dir=services.settings.data))  # noqa: SIM115 - the stack closes it
    settings = services.settings.deltas
    with ThreadPoolExecutor(threads(settings)) as executor:
        recipes = services.settings.data / RECIPES
        work = Work(services.index, services.blobs, (source,), target, settings, executor, _silent, recipes)
        facts = delta_smidgen.build(work, lambda _: file)
    size = file.seek(0, 2)
    file.seek(0)
    digest = Digest("sha256", file_digest(file, "sha256").hexdigest())
    contents.file(digest, size, file)
    return [
        DeltaOffer(
            sources=(source.digest,),
            piece=Piece(digest, size, facts.raw_size),
            memory=facts.memory,
            scratch=facts.scratch,
            cpu=facts.cpu,
            features=facts.features,
            header=Digest.from_raw(facts.header or b""),
            work=facts.work,
        )
    ]


def _silent(done: int, total: int) -> None:
    """Announce nothing."""


def _blobs(services: Services, document: RefDocument, contents: _Contents, *, full: bool) -> None:
    """The tree, blobs that are only to be had whole, and with `full` map and packs."""
    contents.blob(document.tree.digest)
    tree = decode_tree(read_part(services.blobs, surface.Part(0, *_part(document.tree))))
    for blob in tree.opaque if isinstance(tree, OciTree) else ():
        contents.blob(blob.digest)
    if full and document.packs is not None:
        contents.blob(document.packs.digest)
        packmap = decode_packmap(read_part(services.blobs, surface.Part(0, *_part(document.packs))), document.count)
        for pack in packmap.packs:
            contents.blob(pack.digest)


def _part(piece: Piece) -> tuple[Digest, int, int]:
    return piece.digest, piece.size, piece.raw_size


def _stored(services: Services, digest: Digest) -> Iterator[bytes]:
    with services.blobs.open(digest) as blocks:
        yield from blocks


def _read(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block
