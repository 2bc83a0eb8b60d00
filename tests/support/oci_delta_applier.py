"""A second applier of oci-delta artifacts, written from the format's description alone; speaks HTTP to any registry.

Old images are what a device has: configs, and files by path. It trusts its input, except that every layer must have the
diff_id that the new config promises.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smidgen_deltas.zstd import Decompressor
from support.oci_client import Repo
from support.tardiff_reader import rebuild

ARTIFACT = "application/vnd.io.github.containers.oci-delta.v1"
DELTA = "io.github.containers.delta."


@dataclass
class Device:
    """What a device has: digests of configs, their merged files, and tars of layers by diff_id."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    layers: dict[str, bytes] = field(default_factory=dict)

    def install(self, config: str, tars: list[bytes]) -> None:
        """An image without whiteouts, hard links or symlinks."""
        merged: dict[str, bytes] = {}
        for tar in tars:
            self.layers[sha256(tar)] = tar
            merged |= read_files(tar)
        self.files[config] = merged

    def update(self, repo: Repo, target: str) -> tuple[list[bytes], int]:
        """The tars of an image (digest of its manifest), by a delta that starts here; bytes of layers fetched."""
        listed = repo.get(f"referrers/{target}", params={"artifactType": ARTIFACT}).raise_for_status().json()
        (found,) = [one for one in listed["manifests"] if one["annotations"][DELTA + "source-config"] in self.files]
        artifact = repo.get(f"manifests/{found['digest']}").raise_for_status().json()
        assert (artifact["artifactType"], artifact["subject"]["digest"]) == (ARTIFACT, target)
        old = self.files[artifact["annotations"][DELTA + "source-config"]]
        parts = {one["annotations"][DELTA + "content"]: one for one in artifact["layers"]}
        manifest = json.loads(blob(repo, parts["image-manifest"]))
        config = json.loads(blob(repo, parts["image-config"]))
        carried = {one["annotations"].get(DELTA + "to"): one for one in artifact["layers"]}
        made, fetched = [], 0
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            part = carried.get(layer["digest"])
            if part is None:
                assert diff_id in json.loads(artifact["annotations"][DELTA + "reused-diff-id"])
            tar = self.layers[diff_id] if part is None else rebuilt(repo, part, old)
            fetched += part["size"] if part else 0
            assert sha256(tar) == diff_id
            made.append(tar)
        return made, fetched


def rebuilt(repo: Repo, part: Mapping[str, Any], old: Mapping[str, bytes]) -> bytes:
    data = blob(repo, part)
    if part["mediaType"] == "application/vnd.tar-diff":
        return rebuild(data, old)
    if part["mediaType"].endswith("+zstd"):
        return Decompressor().decompress(data)
    return gzip.decompress(data) if part["mediaType"].endswith("+gzip") else data


def blob(repo: Repo, descriptor: Mapping[str, Any]) -> bytes:
    data = repo.get(f"blobs/{descriptor['digest']}").raise_for_status().content
    assert (sha256(data), len(data)) == (descriptor["digest"], descriptor["size"])
    return data


def read_files(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
