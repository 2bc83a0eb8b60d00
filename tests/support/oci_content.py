"""OCI content made on the spot: images, indexes, artifacts, with random layers, so that no two tests share a digest."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
Json = dict[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def layer_tar(files: dict[str, bytes]) -> bytes:
    """A tar with these files, the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index to be pushed."""

    body: bytes
    media_type: str
    digest: str

    def descriptor(self, **more: Any) -> Json:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body), **more}


@dataclass(slots=True)
class Content:
    """Blobs, documents in the order in which they are pushed, tags, and what referrers listings must show."""

    algorithm: str = "sha256"
    blobs: dict[str, bytes] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    tags: dict[str, Document] = field(default_factory=dict)
    referrers: dict[str, list[Json]] = field(default_factory=dict)

    def blob(self, data: bytes, media_type: str, *, embed: bool = False) -> Json:
        """A blob to be pushed; its descriptor."""
        digest = digest_of(data, self.algorithm)
        self.blobs[digest] = data
        more = {"data": base64.b64encode(data).decode()} if embed else {}
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def layer(self, *, embed: bool = False, compressed: bool = True) -> tuple[Json, str]:
        """A layer with one random file; its descriptor and diff id."""
        tar = layer_tar({f"file-{os.urandom(4).hex()}": os.urandom(300)})
        data = gzip.compress(tar, mtime=0) if compressed else tar
        return self.blob(data, LAYER + ("+gzip" if compressed else ""), embed=embed), digest_of(tar)

    def image(
        self,
        *,
        layers: int = 2,
        compressed: bool = True,
        embed: bool = False,
        architecture: str = "amd64",
        config_extra: Json | None = None,
        **members: Any,
    ) -> Document:
        made = [self.layer(embed=embed, compressed=compressed) for _ in range(layers)]
        config = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
            **(config_extra or {}),
        }
        described = self.blob(json.dumps(config).encode(), CONFIG, embed=embed)
        return self.manifest(described, [descriptor for descriptor, _ in made], **members)

    def artifact(self, artifact_type: str, *, empty: bool = False, **members: Any) -> Document:
        config = self.blob(b"{}", EMPTY)
        layer = config if empty else self.blob(os.urandom(200), artifact_type)
        return self.manifest(config, [layer], artifactType=artifact_type, **members)

    def manifest(self, config: Json, layers: list[Json], **members: Any) -> Document:
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **members}
        return self.document(document, members.get("artifactType") or config["mediaType"])

    def index(self, manifests: list[Json], **members: Any) -> Document:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **members}
        return self.document(document, members.get("artifactType"))

    def platforms(self, **members: Any) -> Document:
        """An index of images for two architectures."""
        images = {architecture: self.image(architecture=architecture) for architecture in ("amd64", "arm64")}
        return self.index(
            [one.descriptor(platform={"os": "linux", "architecture": name}) for name, one in images.items()], **members
        )

    def document(self, value: Json, artifact_type: str | None) -> Document:
        body = json.dumps(value, indent=1).encode()
        document = Document(body, value["mediaType"], digest_of(body, self.algorithm))
        self.documents.append(document)
        if subject := value.get("subject"):
            more = {"artifactType": artifact_type, "annotations": value.get("annotations")}
            shown = document.descriptor(**{name: found for name, found in more.items() if found})
            self.referrers.setdefault(subject["digest"], []).append(shown)
        return document

    def tag(self, name: str, document: Document | None = None) -> Content:
        """Tag the document, by default the last one; for chaining."""
        self.tags[name] = document or self.documents[-1]
        return self
