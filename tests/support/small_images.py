"""Small images published straight into a server's directory, for tests that need revisions and little else."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.layout import Layout
from smidgen_server.services import ingest_oci
from smidgen_server.services.container import Services
from smidgen_server.services.tasks import no_progress
from support.device_trees import Files, noise
from support.layouts import write_image


def publish_files(services: Services, folder: Path, files: Files, repo: str = "app", tag: str = "stable") -> Digest:
    """Point REPO:TAG at an image of these files; its digest. `folder` is for a layout of it."""
    digest = write_image(path := folder / sha256(repr(sorted(files.items())).encode()).hexdigest()[:16], "built", files)
    ingest_oci.publish(services, Layout.open(path), "built", repo, tag, no_progress)
    return digest


def publish_version(services: Services, folder: Path, version: int, repo: str = "app", tag: str = "stable") -> Digest:
    """An image of a program that differs a little from version to version."""
    program = bytearray(noise("program", 60_000))
    program[1000 : 1000 + 64 * version] = noise(f"code {version}", 64 * version)
    files = {"usr/bin/program": bytes(program), "usr/share/fixed": noise("fixed", 20_000), "empty": b""}
    return publish_files(services, folder, files, repo, tag)
