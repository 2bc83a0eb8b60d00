"""Small images published straight into a server's directory, for tests that need revisions and little else."""

from __future__ import annotations

from pathlib import Path

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import OciTree
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor
from smidgen_server.services import ingest_oci
from smidgen_server.services.container import Services
from smidgen_server.services.tasks import no_progress
from support.device_trees import Files, make_image, noise


def publish_files(services: Services, folder: Path, files: Files, repo: str = "app", tag: str = "stable") -> Digest:
    """Point REPO:TAG at an image of these files; its digest. `folder` is for a layout of it."""
    image = make_image(files)
    assert isinstance(image.tree, OciTree)
    (root,) = image.tree.manifests
    writer = LayoutWriter.open_or_create(folder / root.digest.hex[:16])
    for document in (*image.tree.manifests, *image.tree.blobs):
        writer.put_bytes(document.body)
    for blob in image.blobs.values():
        writer.put_bytes(blob)
    writer.set_ref("built", Descriptor(root.media_type, root.digest, len(root.body), {}))
    layout = Layout.open(folder / root.digest.hex[:16])
    ingest_oci.publish(services, layout, "built", repo, tag, no_progress)
    return root.digest


def publish_version(services: Services, folder: Path, version: int, repo: str = "app", tag: str = "stable") -> Digest:
    """An image of a program that differs a little from version to version."""
    program = bytearray(noise("program", 60_000))
    program[1000 : 1000 + 64 * version] = noise(f"code {version}", 64 * version)
    files = {"usr/bin/program": bytes(program), "usr/share/fixed": noise("fixed", 20_000), "empty": b""}
    return publish_files(services, folder, files, repo, tag)
