"""What an image consists of: its manifests, small blobs that travel inline, layers, and blobs that are only whole.

Only what the repository itself shows is looked at: a sparse index or a foreign layer may name blobs of others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown, LimitExceeded
from smidgen_deltas.native.tree import Document
from smidgen_deltas.oci.media import layer_compression
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, parse_manifest
from smidgen_server.services import oci_blobs, oci_manifests
from smidgen_server.services.oci_errors import ManifestUnknown

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

INLINE: Final = 1 << 20  # larger configs and artifacts are opaque blobs
MAX_MANIFESTS: Final = 1000
MAX_DEPTH: Final = 4  # indexes in indexes


@dataclass(slots=True)
class Image:
    """By digest, each in the order of first mention; the first manifest is the root.

    Args:
        documents: configs and other small blobs, inline.
        layers: descriptors of layers of file systems.
        whole: sizes of all other blobs.
    """

    manifests: dict[Digest, Document] = field(default_factory=dict)
    documents: dict[Digest, Document] = field(default_factory=dict)
    layers: dict[Digest, Descriptor] = field(default_factory=dict)
    whole: dict[Digest, int] = field(default_factory=dict)


def read_image(services: Services, name: str, root: Digest) -> Image:
    """Raises ManifestUnknown (only for the root), LimitExceeded."""
    image = Image()
    _add_manifest(services, name, root, image, 0)
    if not image.manifests:
        raise ManifestUnknown("this repository has no such manifest", repo=name, digest=str(root))
    return image


def _add_manifest(services: Services, name: str, digest: Digest, image: Image, depth: int) -> None:
    if digest in image.manifests:
        return
    if depth > MAX_DEPTH or len(image.manifests) >= MAX_MANIFESTS:
        raise LimitExceeded("too many manifests in one index", digest=str(digest), limit=MAX_MANIFESTS)
    found = _read_manifest(services, name, digest)
    if found is None:
        return
    image.manifests[digest] = Document(found.media_type, digest, found.body)
    if isinstance(found, Index):
        for child in found.manifests:
            _add_manifest(services, name, child.digest, image, depth + 1)
        return
    for descriptor in (found.config, *found.layers):
        _add_blob(services, name, descriptor, image)


def _read_manifest(services: Services, name: str, digest: Digest) -> Manifest | Index | None:
    """None: the repository does not have it."""
    try:
        stored = oci_manifests.find(services, name, digest)
    except ManifestUnknown:
        return None
    return parse_manifest(oci_manifests.read(services, stored), stored.media_type)


def _add_blob(services: Services, name: str, descriptor: Descriptor, image: Image) -> None:
    try:
        size = oci_blobs.find(services, name, descriptor.digest).size
    except BlobUnknown:
        return
    if layer_compression(descriptor.media_type) is not None:
        image.layers.setdefault(descriptor.digest, descriptor)
    elif size <= INLINE:
        with services.blobs.open(descriptor.digest) as blocks:
            document = Document(descriptor.media_type, descriptor.digest, b"".join(blocks))
        image.documents.setdefault(descriptor.digest, document)
    else:
        image.whole.setdefault(descriptor.digest, size)
