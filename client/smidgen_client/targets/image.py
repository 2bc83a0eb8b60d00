"""What the manifests of an OCI tree document say, checked against each other.

The root manifest must hash to the revision; configs and layers are those that manifests reached from it name. Nothing
else in the document is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, NotFound
from smidgen_deltas.native.tree import Document, LayerEntry, OciTree
from smidgen_deltas.oci.config import parse_config
from smidgen_deltas.oci.media import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    layer_compression,
)
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, parse_manifest

MAX_DEPTH: Final = 4
_AS_OCI: Final = {DOCKER_MANIFEST: OCI_MANIFEST, DOCKER_LIST: OCI_INDEX, DOCKER_CONFIG: OCI_CONFIG}


class ImageIncomplete(NotFound):
    """A tree document lacks a manifest, config or layer that the image needs."""

    exit = 24
    hint = "The server published a damaged revision; nothing was changed. Tell its operator."


@dataclass(frozen=True, slots=True)
class Image:
    """A checked tree document.

    Args:
        root: digest of the revision.
        manifests: by digest, those reached from the root that the document has.
        documents: other small blobs that come inline, by digest.
        layers: buildable layers, by digest.
        opaque: size of blobs that are only to be had whole, by digest.
    """

    root: Digest
    manifests: Mapping[Digest, Manifest | Index]
    documents: Mapping[Digest, Document]
    layers: Mapping[Digest, LayerEntry]
    opaque: Mapping[Digest, int]


def check_image(tree: OciTree, revision: Digest) -> Image:
    """Raises DigestMismatch, ImageIncomplete, FormatError: the document is not one whole image."""
    for document in (*tree.manifests, *tree.blobs):
        document.digest.check(document.body)
    if tree.manifests[0].digest != revision:
        raise DigestMismatch(
            "the manifest in the tree document is another", expected=str(revision), found=str(tree.manifests[0].digest)
        )
    by_digest = {document.digest: document for document in tree.manifests}
    image = Image(
        root=revision,
        manifests=dict(_reached(by_digest, revision, tree.manifests[0].media_type, MAX_DEPTH)),
        documents={document.digest: document for document in tree.blobs},
        layers={layer.digest: layer for layer in tree.layers},
        opaque={blob.digest: blob.size for blob in tree.opaque},
    )
    for manifest in image.manifests.values():
        if isinstance(manifest, Manifest):
            _check_manifest(image, manifest)
    return image


def blobs_of(image: Image) -> list[Descriptor]:
    """Every config and layer that the image needs, each once, in the order of its manifests."""
    found: dict[Digest, Descriptor] = {}
    for manifest in image.manifests.values():
        if isinstance(manifest, Manifest):
            for one in (manifest.config, *manifest.layers):
                found.setdefault(one.digest, one)
    return list(found.values())


def _reached(
    documents: Mapping[Digest, Document], digest: Digest, media_type: str, depth: int
) -> Iterator[tuple[Digest, Manifest | Index]]:
    if not depth:
        raise LimitExceeded("indexes are nested too deep", limit=MAX_DEPTH)
    if digest not in documents:
        return  # an index may name platforms that were never pushed
    manifest = parse_manifest(documents[digest].body, media_type or None)
    yield digest, manifest
    if isinstance(manifest, Index):
        for child in manifest.manifests:
            yield from _reached(documents, child.digest, child.media_type, depth - 1)


def _check_manifest(image: Image, manifest: Manifest) -> None:
    known = image.documents.keys() | image.layers.keys() | image.opaque.keys()
    for one in (manifest.config, *manifest.layers):
        if one.digest not in known:
            raise ImageIncomplete("the tree document lacks a blob of the image", digest=str(one.digest))
    layers = [image.layers.get(one.digest) for one in manifest.layers]
    config = image.documents.get(manifest.config.digest)
    if config is None or not any(layers) or manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        return
    diff_ids = parse_config(config.body).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise FormatError("config and manifest name different numbers of layers", digest=str(manifest.digest))
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if layer is not None and layer.diff_id != diff_id:
            raise DigestMismatch("layer and config disagree", expected=str(diff_id), found=str(layer.diff_id))


def rewrite(image: Image, as_tar: frozenset[Digest]) -> tuple[Descriptor, list[bytes]]:
    """New manifests in which the layers in `as_tar` stand as uncompressed tars.

    Returns the descriptor of the new root and all new documents. Everything else in the documents stays; Docker's media
    types become OCI's, because the layers are described in OCI's way. The image id (digest of the config) does not
    change.
    """
    made: dict[Digest, tuple[bytes, str]] = {}
    order = list(image.manifests)
    for digest in reversed(order):  # children come after their parents
        manifest = image.manifests[digest]
        document = json.loads(manifest.body)
        media_type = _AS_OCI.get(manifest.media_type, manifest.media_type)
        document["mediaType"] = media_type
        if isinstance(manifest, Index):
            document["manifests"] = [_renamed(entry, made) for entry in document["manifests"]]
        else:
            document["config"] = _as_oci(document["config"])
            document["layers"] = [_layer(entry, image, as_tar) for entry in document["layers"]]
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        made[digest] = (body, media_type)
    body, media_type = made[image.root]
    bodies = [one for one, _ in made.values()]
    return Descriptor(media_type, Digest.of(body), len(body), {}), bodies


def _renamed(entry: dict[str, Any], made: Mapping[Digest, tuple[bytes, str]]) -> dict[str, Any]:
    found = made.get(Digest.parse(entry["digest"]))
    if found is None:
        return entry
    body, media_type = found
    changed = {name: value for name, value in entry.items() if name != "data"}
    return {**changed, "mediaType": media_type, "digest": str(Digest.of(body)), "size": len(body)}


def _as_oci(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "mediaType": _AS_OCI.get(entry["mediaType"], entry["mediaType"])}


def _layer(entry: dict[str, Any], image: Image, as_tar: frozenset[Digest]) -> dict[str, Any]:
    digest = Digest.parse(entry["digest"])
    media_type = entry["mediaType"]
    if digest not in as_tar:
        compression = layer_compression(media_type)
        if compression is None or "docker" not in media_type:
            return entry
        suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[compression]
        return {**entry, "mediaType": OCI_LAYER + suffix}
    layer = image.layers[digest]
    kept = {name: value for name, value in entry.items() if name in ("annotations",)}
    return {"mediaType": OCI_LAYER, "digest": str(layer.diff_id), "size": layer.tar_size, **kept}
