"""What lists static deltas of ostree names those that can be had and no others, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.ostree.deltaindex import decode_index
from smidgen_deltas.ostree.deltaname import DeltaName, index_path
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.summary import STATIC_DELTAS, Summary
from smidgen_server.index.deltas import READY
from smidgen_server.services import collect, ingest_ostree, overview
from smidgen_server.services.tasks import no_progress
from support.ostree import FIRST, REF, SECOND, unpack_archive_repo
from support.releases import settled
from support.server import RunningServer, ServerFactory

NAME = DeltaName(FIRST, SECOND)


@pytest.fixture
def running(database_url: str, server_factory: ServerFactory, tmp_path: Path) -> RunningServer:
    """Both commits of the toy repository, and the delta between them."""
    running = server_factory(database=database_url, deltas={"formats": ["ostree"], "keep_share": 1})
    toy = Repository.open(unpack_archive_repo(tmp_path / "source"))
    for commit in (FIRST, SECOND):
        ingest_ostree.publish(running.services, toy, commit.hex(), "toy", REF, no_progress)
    (row,) = settled(running.services)
    assert row.state == READY, row.reason
    assert listed(running) == {str(NAME)} and served(running) == (200, 200)
    return running


def listed(running: RunningServer) -> set[str]:
    with running.client() as client:
        summary = Summary.decode(client.get("/ostree/toy/summary").raise_for_status().content)
    found = summary.metadata.get(STATIC_DELTAS)
    return set(found.value) if found else set()


def served(running: RunningServer) -> tuple[int, int]:
    """Status of the delta's superblock and of the index that names it."""
    with running.client() as client:
        index = client.get(f"/ostree/toy/{index_path(SECOND)}")
        assert index.status_code == 404 or list(decode_index(index.content, SECOND)) == [NAME]
        return client.get(f"/ostree/toy/{NAME.superblock}").status_code, index.status_code


def test_a_delta_goes_with_the_revision_it_leads_to(running: RunningServer) -> None:
    overview.delete_ref(running.services, "toy", REF)
    assert listed(running) == {str(NAME)}
    overview.delete_revision(running.services, "ostree", "toy", Digest.from_raw(SECOND))
    assert listed(running) == set() and served(running) == (404, 404)
    assert settled(running.services) == []


def test_collecting_garbage_leaves_no_list_behind(running: RunningServer) -> None:
    overview.delete_ref(running.services, "toy", REF)
    assert collect.collect_all(running.services, grace=-10, keep=0, progress=no_progress).revisions == 2
    assert listed(running) == set() and served(running) == (404, 404)
    assert settled(running.services) == []
