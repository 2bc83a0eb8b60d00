"""Stock ostree updates from the server by a static delta that the server made."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smidgen_deltas.ostree.deltaindex import decode_index
from smidgen_deltas.ostree.deltaname import DeltaName, index_path
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.index import deltas, surface
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.ostree import ostree
from support.releases import release, settled
from support.server import RunningServer, run_server
from support.static_deltas import holding

pytestmark = pytest.mark.needs("ostree")

Site = tuple[RunningServer, Path, DeltaName]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that has made a delta between two releases, the repository they come from, and the delta's name."""
    with made_site(tmp_path_factory.mktemp("site")) as found:
        yield found


@contextmanager
def made_site(folder: Path, *, summary: bool = False) -> Iterator[Site]:
    """summary: that the repository has one, which the server passes on as it is."""
    origin = folder / "repo"
    ostree(origin, "init", "--mode=archive")
    with run_server(folder / "data", deltas={"formats": ["ostree"]}) as server:
        commits = []
        for version in (1, 2):
            tree = release(folder / str(version), version)
            commits.append(bytes.fromhex(ostree(origin, "commit", "--branch=os", f"--tree=dir={tree}").strip()))
            if summary:
                ostree(origin, "summary", "--update")
            ingest_ostree.publish(server.services, Repository.open(origin), "os", "os", "os", no_progress)
        (made,) = settled(server.services)
        assert (made.format, made.state) == ("ostree", deltas.READY), made.reason
        yield server, origin, DeltaName(*commits)


def pull(device: Path, url: str, *options: str) -> set[str]:
    """Pull the ref; what was fetched below deltas/."""
    ostree(device, "remote", "add", "--no-gpg-verify", "origin", url)
    words = ["ostree", f"--repo={device}", "pull", "-v", *options, "origin", "os"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return set(re.findall(r"deltas/\S+", done.stdout + done.stderr))


@pytest.mark.parametrize("options", [[], ["--require-static-deltas"]])
def test_stock_takes_the_delta(site: Site, tmp_path: Path, options: list[str]) -> None:
    server, origin, name = site
    assert name.source is not None
    device = holding(tmp_path, origin, name.source)
    ostree(device, "refs", "--create=origin:os", name.source.hex())
    fetched = pull(device, f"{server.url}/ostree/os", *options)
    assert {name.superblock, name.part(0)} <= fetched
    ostree(device, "fsck")
    assert ostree(device, "rev-parse", "origin:os").strip() == name.target.hex()


def test_stock_takes_the_delta_that_a_passed_on_summary_cannot_list(tmp_path: Path) -> None:
    """Where a summary knows of no deltas, stock ostree asks for the one from its ref's commit by its path."""
    with made_site(tmp_path, summary=True) as (server, origin, name):
        assert name.source is not None
        with server.client() as client:
            assert client.get("/ostree/os/summary").content == (origin / "summary").read_bytes()
        device = holding(tmp_path, origin, name.source)
        ostree(device, "refs", "--create=origin:os", name.source.hex())
        assert {name.superblock, name.part(0)} <= pull(device, f"{server.url}/ostree/os")
        ostree(device, "fsck")
        assert ostree(device, "rev-parse", "origin:os").strip() == name.target.hex()


def test_the_delta_is_listed_cached_and_goes_with_its_revision(site: Site) -> None:
    server, _, name = site
    with server.client() as client:
        found = client.get(f"/ostree/os/{name.superblock}").raise_for_status()
        assert "immutable" in found.headers["cache-control"]
        index = client.get(f"/ostree/os/{index_path(name.target)}").raise_for_status()
        assert "immutable" not in index.headers["cache-control"]
        (listed,) = decode_index(index.content, name.target)
        assert listed == name
        with server.services.index.session() as session:
            target = surface.find_ref(session, 1, "os")
            assert target is not None and target.revision_id is not None
            deltas.forget(session, target.revision_id)
        assert client.get(f"/ostree/os/{index_path(name.target)}").status_code == 404
        assert client.get(f"/ostree/os/{name.superblock}").status_code == 404
