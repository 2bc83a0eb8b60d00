"""Images of published revisions as makers of tar-diffs want them: manifest and config together, layers as tars."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError
from smidgen_deltas.native.tree import LayerEntry, OciTree, decode_tree
from smidgen_deltas.oci.config import MAX_CONFIG, parse_config
from smidgen_deltas.oci.deltas import Image
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.model import Manifest, parse_manifest
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index.surface import Revision
from smidgen_server.services.delta_cost import read_part
from smidgen_server.services.delta_formats import Useless
from smidgen_server.services.recompress import BlockReader


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, by its config."""

    os: str
    architecture: str
    variant: str


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image whose layers are all known in parts. layers: as stored, each with its true diff_id."""

    image: Image
    layers: Sequence[LayerEntry]

    @property
    def platform(self) -> Platform:
        config = self.image.config
        return Platform(config.os, config.architecture, config.variant)


def images(blobs: BlobReader, revision: Revision) -> list[StoredImage]:
    """The images of a revision: one, or those of an index; without artifacts and what is only kept whole."""
    tree = decode_tree(read_part(blobs, revision.tree))
    assert isinstance(tree, OciTree)
    known = {layer.digest: layer for layer in tree.layers}
    documents = (parse_manifest(one.body, one.media_type) for one in tree.manifests if one.digest.algorithm == "sha256")
    found = (_image(blobs, one, known) for one in documents if isinstance(one, Manifest))
    return [one for one in found if one is not None]


def pairs(old: Sequence[StoredImage], new: Sequence[StoredImage]) -> Iterator[tuple[StoredImage, StoredImage]]:
    """Each new image with the old one for the same platform, where there is one and it is another."""
    for one in new:
        match = next((other for other in old if other.platform == one.platform), None)
        if match is not None and match.image.manifest.digest != one.image.manifest.digest:
            yield match, one


def _image(blobs: BlobReader, manifest: Manifest, known: dict[Digest, LayerEntry]) -> StoredImage | None:
    layers = [known[layer.digest] for layer in manifest.layers if layer.digest in known]
    if len(layers) != len(manifest.layers) or manifest.config.size > MAX_CONFIG:
        return None
    with blobs.open(manifest.config.digest) as blocks:
        body = b"".join(blocks)
    try:
        config = parse_config(body)
    except FormatError:
        return None  # an artifact with the layers of a file system
    if list(config.diff_ids) != [layer.diff_id for layer in layers]:
        return None  # clients refuse such an image
    return StoredImage(Image(manifest, config), layers)


@contextmanager
def plain_tar(blobs: BlobReader, layer: LayerEntry) -> Iterator[Buffer]:
    """The uncompressed tar of a layer, mapped from a file without a name. Raises Useless where it is empty."""
    with tempfile.TemporaryFile() as file, blobs.open(layer.digest) as blocks:
        for block in open_layer("", BlockReader(blocks), layer.tar_size):
            file.write(block)
        file.flush()
        if not layer.tar_size:
            raise Useless("a layer is empty", digest=str(layer.digest))
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
