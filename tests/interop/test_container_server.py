"""A commit and its image on one server: stock ostree pulls the one, skopeo the other, and they are the same commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from smidgen_client.cli import run
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import ingest_oci, ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.ostree import REF, SECOND, ostree, unpack_archive_repo
from support.server import RunningServer

pytestmark = pytest.mark.needs("ostree", "skopeo")


def test_one_server_serves_both(server: RunningServer, tmp_path: Path) -> None:
    repo, images = unpack_archive_repo(tmp_path), tmp_path / "images"
    assert run(["container", "export", f"ostree:{repo}@{REF}", f"oci:{images}:v2", "--chunks", "2"]) == 0
    services = server.services
    ingest_ostree.publish(services, Repository.open(repo), REF, "os", REF, no_progress)
    ingest_oci.publish(services, Layout.open(images), "v2", "os-image", "stable", no_progress)

    pulled = tmp_path / "pulled"
    pulled.mkdir()
    ostree(pulled, "init", "--mode=archive")
    ostree(pulled, "remote", "add", "--no-gpg-verify", "origin", f"{server.url}/ostree/os")
    ostree(pulled, "pull", "origin", REF)

    source = f"docker://{server.url.removeprefix('http://')}/os-image:stable"
    copied = tmp_path / "copied"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{copied}:stable"], check=True)
    assert run(["container", "import", f"oci:{copied}:stable", f"ostree:{tmp_path / 'imported'}"]) == 0
    assert Repository.open(pulled).resolve(f"origin:{REF}") == SECOND
    assert Repository.open(tmp_path / "imported").resolve("stable") == SECOND
    ostree(tmp_path / "imported", "fsck")
