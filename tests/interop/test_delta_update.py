"""From publishing to the device: a delta comes into being, and a device updates with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import deltas
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.ostree import ostree
from support.releases import release, settled
from support.server import RunningServer
from support.surface import fetch_document

pytestmark = pytest.mark.needs("ostree")


def publish(server: RunningServer, folder: Path, version: int) -> str:
    """Commit a release with stock ostree and publish it; the commit."""
    repo = folder / "origin"
    if not repo.exists():
        repo.mkdir()
        ostree(repo, "init", "--mode=archive")
    tree = release(folder / f"release{version}", version)
    commit = ostree(repo, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0").strip()
    ingest_ostree.publish(server.services, Repository.open(repo), "stable", "os", "stable", no_progress)
    return commit


def test_the_server_makes_and_offers_a_delta(server: RunningServer, tmp_path: Path) -> None:
    first, second = publish(server, tmp_path, 1), publish(server, tmp_path, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.READY, row.reason
    with server.client() as client:
        document = fetch_document(client, "ostree/os/stable")
        (offer,) = document.deltas
        assert (document.revision.hex, offer.sources[0].hex) == (second, first)
        assert document.version == 2
        answer = client.get(f"/u/blobs/{offer.piece.digest.hex}").raise_for_status()
        offer.piece.digest.check(answer.content)
        assert len(answer.content) == offer.piece.size < 20_000
