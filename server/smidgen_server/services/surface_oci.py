"""The surface of an image: manifests and small blobs inline, layers as recipes over contents, the rest whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import ContentRef, LayerEntry, OciTree, OpaqueBlob, encode_tree
from smidgen_deltas.oci.model import Descriptor
from smidgen_deltas.tar.recipe import decode, encode
from smidgen_server.index import layers, surface
from smidgen_server.services.image_documents import Image, read_image
from smidgen_server.services.ingest_layer import ingest_layer
from smidgen_server.services.packing import Wanted
from smidgen_server.services.surface import PackedContents, map_contents, pack_missing, store_document
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services


@dataclass(frozen=True, slots=True)
class _Split:
    """A layer with its contents by position in its recipe."""

    descriptor: Descriptor
    size: int
    layer: layers.SplitLayer
    contents: Sequence[Wanted]


def build_revision(services: Services, name: str, repo_id: int, digest: Digest, progress: Progress) -> int:
    """Take the image apart and make its revision; returns the row id. Raises ManifestUnknown."""
    image = read_image(services, name, digest)
    split, whole = _split_layers(services, repo_id, image, progress)
    contents = list({one.id: one for layer in split for one in layer.contents}.values())
    pack_missing(services, repo_id, contents, progress)
    packed = map_contents(services, repo_id, contents)
    tree = OciTree(
        manifests=tuple(image.manifests.values()),
        blobs=tuple(image.documents.values()),
        layers=tuple(_entries(services, split, contents)),
        opaque=tuple(OpaqueBlob(one, size) for one, size in whole.items()),
        contents=tuple(ContentRef(one.sha256, one.size) for one in contents),
    )
    return _store(services, repo_id, digest, tree, packed)


def _store(services: Services, repo_id: int, digest: Digest, tree: OciTree, packed: PackedContents | None) -> int:
    stored = store_document(services, encode_tree(tree))
    named = [one.digest for group in (tree.manifests, tree.blobs, tree.layers, tree.opaque) for one in group]
    with services.index.session() as session:
        fetchable = set(surface.blob_ids(session, named).values())
        if packed is not None:
            fetchable |= packed.packs | {packed.part.blob_id}
        revision = surface.NewRevision(
            digest=digest,
            tree=stored,
            packs=packed.part if packed else None,
            files=len(tree.contents),
            bytes=sum(one.size for one in tree.contents),
            version=None,
            boot=None,
            blobs=frozenset(fetchable | {stored.blob_id}),
        )
        return surface.put_revision(session, repo_id, revision, now=int(time.time()))


def _split_layers(
    services: Services, repo_id: int, image: Image, progress: Progress
) -> tuple[list[_Split], dict[Digest, int]]:
    """Layers that are known in parts, and sizes of all blobs that are only to be had whole."""
    split, whole = list[_Split](), dict(image.whole)
    for digest, descriptor in image.layers.items():
        size = services.blobs.stat(digest).size
        found = ingest_layer(services, repo_id, digest, size, descriptor.media_type, progress)
        if isinstance(found, layers.OpaqueLayer):
            whole[digest] = size
            continue
        with services.index.read() as session:
            contents = [Wanted(*row) for row in layers.layer_contents(session, found.id)]
        split.append(_Split(descriptor, size, found, contents))
    return split, whole


def _entries(services: Services, split: Sequence[_Split], contents: Sequence[Wanted]) -> Iterator[LayerEntry]:
    """Layer recipes name positions in the layer's list; those of the tree name positions in the tree's."""
    positions = {one.sha256: at for at, one in enumerate(contents)}
    for one in split:
        own = [positions[wanted.sha256] for wanted in one.contents]
        recipe = _read_document(services, one.layer.recipe)
        yield LayerEntry(
            media_type=one.descriptor.media_type,
            digest=one.descriptor.digest,
            size=one.size,
            diff_id=one.layer.diff_id,
            tar_size=one.layer.tar_size,
            recipe=recipe if own == list(range(len(own))) else _renumbered(recipe, one.contents, positions),
            recompress=_read_whole(services, one.layer.recompress) if one.layer.recompress else b"",
        )


def _renumbered(recipe: bytes, contents: Sequence[Wanted], positions: Mapping[bytes, int]) -> bytes:
    return encode(decode(recipe, contents), lambda found: positions[found.sha256])


def _read_document(services: Services, part: surface.Part) -> bytes:
    return zstd.decompress(_read_whole(services, part.digest), part.raw_size)


def _read_whole(services: Services, digest: Digest) -> bytes:
    with services.blobs.open(digest) as blocks:
        return b"".join(blocks)
