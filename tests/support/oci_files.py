"""Image layouts on disk, written by hand, so that tests of the registry depend on nothing but the specification."""

from __future__ import annotations

import json
from pathlib import Path

from support.oci_content import Content


def write_layout(content: Content, directory: Path) -> Path:
    """An OCI image layout with everything of `content`; tags become reference names."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    bodies = {**content.blobs, **{document.digest: document.body for document in content.documents}}
    for digest, data in bodies.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
    entries = [
        document.descriptor(annotations={"org.opencontainers.image.ref.name": tag})
        for tag, document in content.tags.items()
    ]
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return directory


def read_layout(directory: Path) -> dict[str, bytes]:
    """Digest -> bytes of everything in a layout."""
    return {f"sha256:{path.name}": path.read_bytes() for path in (directory / "blobs" / "sha256").iterdir()}
