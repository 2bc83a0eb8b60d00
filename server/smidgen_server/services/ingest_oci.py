"""Publishing from an image layout (a directory or an archive), in this process: for `smidgen publish --data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Descriptor, Index
from smidgen_server.services import oci_blobs, oci_manifests
from smidgen_server.services.oci_names import check_name, check_tag
from smidgen_server.services.publish_oci import publish_tag
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

BLOCK = 1 << 18


def publish(services: Services, layout: Layout, tag: str | None, name: str, new_tag: str, progress: Progress) -> Digest:
    """Store an image (or an index with all images that the layout has of it), tag it and build its surface.

    Args:
        tag: in the layout; None for its only image.
    Returns:
        The digest that the tag stands for.
    Raises:
        NotFound: the layout has no such image, or lacks a blob of it.
        IntegrityError, FormatError: it is damaged; no tag changes.
    """
    check_name(name)
    check_tag(new_tag)
    root = layout.resolve(tag)
    _push(services, layout, name, root, new_tag, progress)
    publish_tag(services, name, new_tag, root.digest, progress)
    return root.digest


def _push(
    services: Services, layout: Layout, name: str, descriptor: Descriptor, tag: str | None, progress: Progress
) -> None:
    """Blobs, then the manifest: children before the index that names them."""
    document = layout.manifest(descriptor)
    if isinstance(document, Index):
        for child in document.manifests:
            if layout.has_blob(child.digest):
                _push(services, layout, name, child, None, progress)
    else:
        for blob in (document.config, *document.layers):
            if not blob.urls or layout.has_blob(blob.digest):
                _push_blob(services, layout, name, blob, progress)
    given = oci_manifests.Given(document.body, descriptor.media_type)
    tags = (tag,) if tag is not None else ()
    oci_manifests.put(services, name, descriptor.digest, tags, given)


def _push_blob(services: Services, layout: Layout, name: str, blob: Descriptor, progress: Progress) -> None:
    try:
        oci_blobs.touch(services, oci_blobs.find(services, name, blob.digest))
    except BlobUnknown:
        oci_blobs.claim(services, blob.digest)
    else:
        return
    done = 0
    with layout.open_blob(blob.digest) as reader, services.blobs.writer(blob.digest.algorithm) as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
            done += len(block)
            progress(done, blob.size, "bytes of blob")
        _, size = writer.finish(blob.digest)
    oci_blobs.show(services, name, blob.digest, size)
