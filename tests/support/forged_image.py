"""An image of a commit whose layers and config are replaced by others, with digests that fit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smidgen_deltas.oci.build import encode_manifest
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor, Manifest
from smidgen_deltas.ostree.container.export import export_commit
from smidgen_deltas.ostree.container.image_reader import import_image
from smidgen_deltas.ostree.container.layout import FINAL_LABEL
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from support.ostree import SECOND, unpack_archive_repo

Change = Callable[[dict[str, Any]], object]


class ForgedImage:
    """An exported image, taken apart, and an empty repository."""

    def __init__(self, base: Path) -> None:
        self.root = base / "images"
        self.writer = LayoutWriter.open_or_create(self.root)
        repo = Repository.open(unpack_archive_repo(base))
        export_commit(repo, SECOND, self.writer, "good", 2, "amd64")
        self.layout = self.writer.layout()
        manifest = self.layout.manifest(self.layout.resolve("good"))
        assert isinstance(manifest, Manifest)
        self.blobs = [one.digest for one in manifest.layers]
        self.tars = [zlib.decompress((self.root / blob_name(one)).read_bytes(), 31) for one in self.blobs]
        self.config: dict[str, Any] = json.loads(self.layout.read_blob(manifest.config))
        self.back = RepositoryWriter.open_or_create(base / "back", "archive")

    def forge(self, tars: list[bytes], change: Change = lambda config: None) -> None:
        """Layers with digests that fit; the config says so, too, before it is changed."""
        layers = [Descriptor(OCI_LAYER, self.writer.put_bytes(tar), len(tar), {}) for tar in tars]
        config = json.loads(json.dumps(self.config))
        config["rootfs"]["diff_ids"] = [str(one.digest) for one in layers]
        if layers:
            config["config"]["Labels"][FINAL_LABEL] = str(layers[-1].digest)
        change(config)
        body = json.dumps(config).encode()
        described = Descriptor(OCI_CONFIG, self.writer.put_bytes(body), len(body), {})
        manifest = encode_manifest(described, layers)
        self.writer.set_ref("bad", Descriptor(OCI_MANIFEST, self.writer.put_bytes(manifest), len(manifest), {}))

    def read(self, tag: str = "bad") -> bytes:
        return import_image(Layout.open(self.root), tag, self.back, "ref").commit

    def assert_untouched(self) -> None:
        assert self.back.repository.refs() == {}
        assert not [one for one in self.back.path.joinpath("objects").rglob("*") if one.is_file()]
        assert not [one for one in self.back.path.joinpath("tmp").rglob("*") if one.is_file()]
