"""Manifests and indexes of OCI image-spec 1.1 and Docker image manifest 2.2.

A document keeps the exact bytes it was read from: they are what its digest covers, and members unknown here survive in
them. Nothing here writes a document out again from its parts.

Rules enforced here
 * at most MAX_DOCUMENT bytes, strict JSON (`strictjson`)
 * what the document says it is, what the caller was told it is, and its shape agree (CVE-2021-41190)
 * an embedded `data` is the content that its descriptor names
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SizeMismatch, UnsupportedFeature
from smidgen_deltas.oci import strictjson
from smidgen_deltas.oci.config import History, ImageConfig, parse_config
from smidgen_deltas.oci.fields import Fields, ManifestInvalid
from smidgen_deltas.oci.media import DOCKER_SCHEMA1, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST

__all__ = [
    "Descriptor",
    "History",
    "ImageConfig",
    "Index",
    "Manifest",
    "ManifestInvalid",
    "Platform",
    "parse_config",
    "parse_manifest",
]

MAX_DOCUMENT: Final = 4 << 20  # what registries must take (distribution-spec, "Pushing Manifests")


@dataclass(frozen=True, slots=True)
class Platform:
    """image-index.md, "platform". Empty strings where absent."""

    architecture: str
    os: str
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """descriptor.md. `data` is the embedded content, already checked; None when there is none."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str]
    artifact_type: str = ""
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image or artifact. `body` is the document, byte for byte; `artifact_type` is "" when absent."""

    body: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        """The sha256 digest of the document."""
        return Digest.of(self.body)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or Docker manifest list; its manifests may be indexes again."""

    body: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        """The sha256 digest of the document."""
        return Digest.of(self.body)


def parse_manifest(body: bytes, media_type: str | None = None) -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        media_type: as a Content-Type header or descriptor names it; None when nobody said.
    Raises:
        LimitExceeded, JsonInvalid, ManifestInvalid: it is not one, or not only one.
        UnsupportedFeature: Docker schema 1, or a media type that is no kind of manifest.
        SizeMismatch, DigestMismatch: embedded data is not what its descriptor promises.
    """
    fields = Fields(strictjson.parse(body, MAX_DOCUMENT, "manifest"), "")
    kind = _kind(fields, media_type)
    if kind in INDEXES:
        return Index(
            body=body,
            media_type=kind,
            manifests=tuple(_descriptor(one) for one in fields.objects("manifests")),
            subject=_optional(fields, "subject"),
            artifact_type=fields.text("artifactType"),
            annotations=fields.mapping("annotations"),
        )
    config = _optional(fields, "config")
    if config is None:
        raise ManifestInvalid("member is missing", member="config")
    return Manifest(
        body=body,
        media_type=kind,
        config=config,
        layers=tuple(_descriptor(one) for one in fields.objects("layers")),
        subject=_optional(fields, "subject"),
        artifact_type=fields.text("artifactType"),
        annotations=fields.mapping("annotations"),
    )


def _kind(fields: Fields, told: str | None) -> str:
    """The media type, after every witness was heard."""
    said = fields.text("mediaType")
    if told and said and told != said:
        raise ManifestInvalid("manifest says it is of another type", expected=told[:200], found=said[:200])
    kind = told or said or (OCI_INDEX if "manifests" in fields else OCI_MANIFEST)
    if kind in DOCKER_SCHEMA1:
        raise UnsupportedFeature("Docker image manifest schema 1 is not supported", media_type=kind)
    if kind not in MANIFESTS | INDEXES:
        raise UnsupportedFeature("no known kind of manifest", media_type=kind[:200])
    if fields.number("schemaVersion") != 2:
        raise ManifestInvalid("schemaVersion is not 2", member="schemaVersion")
    foreign = ("layers", "config") if kind in INDEXES else ("manifests",)
    if any(name in fields for name in (*foreign, "fsLayers")):
        raise ManifestInvalid("document is several kinds of manifest at once", media_type=kind)
    if ("manifests" if kind in INDEXES else "config") not in fields and not said:
        raise ManifestInvalid("document is no manifest", media_type=kind)
    return kind


def _optional(fields: Fields, key: str) -> Descriptor | None:
    found = fields.object(key)
    return None if found is None else _descriptor(found)


def _descriptor(fields: Fields) -> Descriptor:
    digest = Digest.parse(fields.required("digest"))
    size = fields.number("size")
    return Descriptor(
        media_type=fields.required("mediaType"),
        digest=digest,
        size=size,
        annotations=fields.mapping("annotations"),
        artifact_type=fields.text("artifactType"),
        urls=fields.texts("urls"),
        data=_data(fields, digest, size),
        platform=_platform(fields.object("platform")),
    )


def _data(fields: Fields, digest: Digest, size: int) -> bytes | None:
    if "data" not in fields:
        return None
    try:
        data = base64.b64decode(fields.text("data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ManifestInvalid("embedded data is not base64", digest=str(digest)) from error
    if len(data) != size:
        raise SizeMismatch("embedded data has another size", digest=str(digest), expected=size, found=len(data))
    digest.check(data)
    return data


def _platform(fields: Fields | None) -> Platform | None:
    if fields is None:
        return None
    return Platform(
        architecture=fields.text("architecture"),
        os=fields.text("os"),
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features"),
        variant=fields.text("variant"),
    )
