"""Documents by which stock clients find tar-diffs in a registry.

* flatpak (flatpak-oci-specs, "image-deltas"): the tag INDEX_TAG names an index of delta manifests, one for each target
  image. Layers of such a manifest are chosen by the diff_ids of the old and of the new layer.
* oci-delta (containers/oci-delta, "Delta manifest"): an artifact for each pair of images, a referrer of the new one. It
  is chosen by the digest of the old image's config; its layers by the digest of the layer in the new manifest.

The annotation `delta.to` is a diff_id in the first and the digest of a stored layer in the second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.build import encode_index, encode_manifest
from smidgen_deltas.oci.config import ImageConfig
from smidgen_deltas.oci.media import OCI_EMPTY, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor, Manifest

TARDIFF: Final = "application/vnd.tar-diff"
ARTIFACT: Final = "application/vnd.io.github.containers.oci-delta.v1"
FLATPAK_CONFIG: Final = "application/vnd.redhat.delta.config.v1+json"
INDEX_TAG: Final = "_deltaindex"
EMPTY: Final = b"{}"
_PREFIX: Final = "io.github.containers.delta."


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its manifest, and the config with as many diff_ids as the manifest has layers."""

    manifest: Manifest
    config: ImageConfig

    @property
    def layers(self) -> Sequence[tuple[Descriptor, Digest]]:
        """Layers as they are stored, with their diff_ids."""
        return tuple(zip(self.manifest.layers, self.config.diff_ids, strict=True))


@dataclass(frozen=True, slots=True)
class LayerDelta:
    """A tar-diff as flatpak chooses it. source, target: diff_ids; blob, size: of the tar-diff."""

    source: Digest
    target: Digest
    blob: Digest
    size: int


def flatpak_manifest(target: Digest, deltas: Iterable[LayerDelta]) -> bytes:
    """The delta manifest of a target image (digest of its manifest).

    flatpak takes the first tar-diff that fits, so each pair of layers should be there once.
    """
    layers = [
        Descriptor(
            TARDIFF,
            one.blob,
            one.size,
            {_PREFIX + "from": str(one.source), _PREFIX + "to": str(one.target)},
        )
        for one in deltas
    ]
    return encode_manifest(_empty(FLATPAK_CONFIG), layers, annotations={_PREFIX + "target": str(target)})


def flatpak_index(manifests: Iterable[tuple[Digest, bytes]]) -> bytes:
    """The delta index: (target image, its delta manifest), each target once."""
    return encode_index(
        [
            Descriptor(OCI_MANIFEST, Digest.of(body), len(body), {_PREFIX + "target": str(target)})
            for target, body in manifests
        ]
    )


def oci_delta(old: Image, new: Image, layers: Iterable[tuple[Descriptor, Descriptor]]) -> bytes:
    """The artifact that makes the new image from the old one.

    Args:
        layers: for each layer of the new image whose tar the old one lacks, its descriptor in the manifest and what
            the artifact has for it: a tar-diff, or the layer itself.
    """
    known = set(old.config.diff_ids)
    reused = [(layer.digest, diff_id) for layer, diff_id in new.layers if diff_id in known]
    annotations = {
        "target": str(new.manifest.digest),
        "source": str(old.manifest.digest),
        "source-config": str(old.config.digest),
    }
    if reused:
        annotations["reused"] = json.dumps([str(digest) for digest, _ in reused])
        annotations["reused-diff-id"] = json.dumps([str(diff_id) for _, diff_id in reused])
    manifest = Descriptor(new.manifest.media_type, new.manifest.digest, len(new.manifest.body), {})
    config = Descriptor(new.manifest.config.media_type, new.config.digest, len(new.config.body), {})
    carried = [
        _content(manifest, "image-manifest"),
        _content(config, "image-config"),
        *(_content(blob, "image-layer", to=str(layer.digest)) for layer, blob in layers),
    ]
    return encode_manifest(
        _empty(OCI_EMPTY),
        carried,
        annotations={_PREFIX + name: value for name, value in annotations.items()},
        subject=manifest,
        artifact_type=ARTIFACT,
    )


def _content(blob: Descriptor, content: str, **more: str) -> Descriptor:
    named = {"content": content, **more}
    return replace(blob, annotations={_PREFIX + name: value for name, value in named.items()})


def _empty(media_type: str) -> Descriptor:
    return Descriptor(media_type, Digest.of(EMPTY), len(EMPTY), {})
