"""Looking through a seed: hash what is new or changed since the last time, pass over the rest.

Each kind of seed knows its files; all of them end as rows of the cache. Files that cannot be read are passed over:
a seed helps or it does not, it never stops an update.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.progress import Progress
from smidgen_client.seeds.index import FILEZ, LAYER, MAX_TAR, PLAIN, SeedIndex, Stamp
from smidgen_client.state.stores import Seed
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, SmidgenError
from smidgen_deltas.oci.layer import open_layer, sniff
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.oci.media import Compression, layer_compression
from smidgen_deltas.oci.model import Descriptor, Index
from smidgen_deltas.ostree.filez import inflate, read_filez_header
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import Splitter

BLOCK: Final = 1 << 20
MAX_DEPTH: Final = 4  # of indexes inside indexes
BATCH: Final = 200


@dataclass(slots=True)
class Scanned:
    """What a scan did: files looked at, files that were hashed, files passed over because they cannot be read."""

    files: int = 0
    hashed: int = 0
    unreadable: int = 0


def scan(index: SeedIndex, seed: Seed, progress: Progress) -> Scanned:
    """Bring the cache up to date for one seed. Raises NotFound when there is nothing at its path."""
    root = Path(seed.path)
    if not root.is_dir():
        raise NotFound("the seed is not there", kind=seed.kind, path=seed.path)
    if seed.kind == "oci":
        found = _layers(root)
    elif seed.kind == "ostree":
        found = _objects(root)
    elif seed.kind == "containers":
        found = _storage(root)
    else:
        found = _files(root, PLAIN)
    return _look(index, found, progress)


def _look(index: SeedIndex, found: Iterator[tuple[Path, str]], progress: Progress) -> Scanned:
    done = Scanned()
    pending: list[tuple[Path, str, Stamp, list[tuple[bytes, int, int]]]] = []
    for path, packing in found:
        stamp = Stamp.of(path)
        if stamp is None or not stamp.size:
            continue
        done.files += 1
        if index.known(path, stamp):
            continue
        try:
            contents = _contents(path, packing, stamp)
        except (SmidgenError, OSError):
            done.unreadable += 1
            continue
        done.hashed += 1
        progress.advance(stamp.size)
        pending.append((path, packing, stamp, contents))
        if len(pending) >= BATCH:
            _store(index, pending)
    _store(index, pending)
    return done


def _store(index: SeedIndex, pending: list[tuple[Path, str, Stamp, list[tuple[bytes, int, int]]]]) -> None:
    with index.batch():
        for path, packing, stamp, contents in pending:
            index.put(path, packing, stamp, contents)
    pending.clear()


def _contents(path: Path, packing: str, stamp: Stamp) -> list[tuple[bytes, int, int]]:
    """(sha256, start, size) of everything in a file."""
    with path.open("rb") as file:
        if packing == PLAIN and not _is_layer(path):
            return [(hashlib.file_digest(file, "sha256").digest(), 0, stamp.size)]
        if packing == FILEZ:
            header, size = read_filez_header(file)
            hasher = hashlib.sha256()
            for block in () if header.is_symlink else inflate(file, size):
                hasher.update(block)
            return [(hasher.digest(), 0, size)] if size else []
        return list(_split(open_layer("", file, MAX_TAR)))


def _split(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, int, int]]:
    at = 0
    for piece in Splitter(blocks, _unwanted):
        if isinstance(piece, Content):
            yield piece.sha256, at, piece.size
            at += piece.size
        else:
            at += len(piece.data)


def _unwanted(member: Member, size: int) -> None:  # noqa: ARG001 - a tar sink
    return None


def _is_layer(path: Path) -> bool:
    """Whether a plain file is a blob of an image layout (an uncompressed layer)."""
    return path.parent.parent.name == "blobs" and path.parent.name in ("sha256", "sha512")


def _files(root: Path, packing: str) -> Iterator[tuple[Path, str]]:
    """Regular files below a folder; symlinks are not followed."""
    stack = [root]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                stack.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path), packing


def _objects(root: Path) -> Iterator[tuple[Path, str]]:
    """File objects of an ostree repository of any mode."""
    packing, suffix = (FILEZ, ".filez") if Repository.open(root).mode.startswith("archive") else (PLAIN, ".file")
    for path, _ in _files(root / "objects", packing):
        if path.name.endswith(suffix):
            yield path, packing


def _storage(root: Path) -> Iterator[tuple[Path, str]]:
    """Layers that podman's storage has unpacked, by its drivers overlay (overlay/<id>/diff) and vfs (vfs/dir/<id>).

    `root` is the graph root or its overlay folder.
    """
    base = root / "overlay" if (root / "overlay").is_dir() else root
    for layer in sorted(base.iterdir()):
        if stat.S_ISDIR(layer.lstat().st_mode):
            yield from _files(layer / "diff", PLAIN)
    yield from _files(root / "vfs/dir", PLAIN)


def _layers(root: Path) -> Iterator[tuple[Path, str]]:
    """Layer blobs of all images in a layout."""
    layout = Layout.open(root)
    seen: set[Digest] = set()
    for descriptor in layout.index.manifests:
        for layer in _layers_of(layout, descriptor, MAX_DEPTH):
            path = root / blob_name(layer.digest)
            if layer.digest not in seen and path.is_file():
                seen.add(layer.digest)
                yield path, packing_of(path)


def packing_of(path: Path) -> str:
    """PLAIN for an uncompressed layer, else LAYER."""
    with path.open("rb") as file:
        return PLAIN if sniff(file.read(8)) is Compression.NONE else LAYER


def _layers_of(layout: Layout, descriptor: Descriptor, depth: int) -> Iterator[Descriptor]:
    try:
        manifest = layout.manifest(descriptor)
    except SmidgenError:
        return
    if isinstance(manifest, Index):
        for child in manifest.manifests if depth else ():
            yield from _layers_of(layout, child, depth - 1)
        return
    for layer in manifest.layers:
        if layer_compression(layer.media_type) is not None:
            yield layer
