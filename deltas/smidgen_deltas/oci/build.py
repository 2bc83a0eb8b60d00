"""New documents: descriptors, manifests and indexes as JSON. The same parts always give the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from smidgen_deltas.oci.media import OCI_INDEX, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor, Platform


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """The JSON object of a descriptor, absent members left out (descriptor.md, "Properties")."""
    result: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.urls:
        result["urls"] = list(descriptor.urls)
    if descriptor.annotations:
        result["annotations"] = dict(descriptor.annotations)
    if descriptor.data is not None:
        result["data"] = base64.b64encode(descriptor.data).decode("ascii")
    if descriptor.artifact_type:
        result["artifactType"] = descriptor.artifact_type
    if descriptor.platform:
        result["platform"] = _platform_json(descriptor.platform)
    return result


def _platform_json(platform: Platform) -> dict[str, Any]:
    result: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        result["os.version"] = platform.os_version
    if platform.os_features:
        result["os.features"] = list(platform.os_features)
    if platform.variant:
        result["variant"] = platform.variant
    return result


def encode_manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
    artifact_type: str = "",
    media_type: str = OCI_MANIFEST,
) -> bytes:
    """An image manifest."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document["config"] = descriptor_json(config)
    document["layers"] = [descriptor_json(layer) for layer in layers]
    return _dump(document, annotations, subject)


def encode_index(
    manifests: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
    artifact_type: str = "",
    media_type: str = OCI_INDEX,
) -> bytes:
    """An image index."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document["manifests"] = [descriptor_json(manifest) for manifest in manifests]
    return _dump(document, annotations, subject)


def _dump(document: dict[str, Any], annotations: Mapping[str, str] | None, subject: Descriptor | None) -> bytes:
    if subject:
        document["subject"] = descriptor_json(subject)
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
