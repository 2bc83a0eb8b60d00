"""Image layouts of small trees of files."""

from __future__ import annotations

from pathlib import Path

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import OciTree
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor
from support.device_trees import Files, make_image


def write_image(path: Path, tag: str, *layers: Files) -> Digest:
    """An image with one gzip layer for each of `layers` under `tag`; its digest."""
    image = make_image(*layers)
    assert isinstance(image.tree, OciTree)
    (root,) = image.tree.manifests
    writer = LayoutWriter.open_or_create(path)
    for document in (*image.tree.manifests, *image.tree.blobs):
        writer.put_bytes(document.body)
    for blob in image.blobs.values():
        writer.put_bytes(blob)
    writer.set_ref(tag, Descriptor(root.media_type, root.digest, len(root.body), {}))
    return root.digest
