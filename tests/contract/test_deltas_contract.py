"""Rows of deltas promise the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.index import content, deltas, repos, surface, tasks
from smidgen_server.index.base import Index
from smidgen_server.services import delta_plan
from smidgen_server.settings import DeltaSettings


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    index = Index(database_url)
    index.upgrade()
    with index.session() as session:
        repos.ensure_repo(session, "ostree", "os", public=True)
    yield index
    index.close()


def part(index: Index, name: str) -> surface.Part:
    digest = Digest.of(name.encode())
    with index.session() as session:
        return surface.Part(content.add_blob(session, digest, 10, now=1), digest, 10, 20)


def publish(index: Index, name: str, *, tree: str = "", last: int = 3) -> int:
    """Point the ref `stable` at the revision `name`, as the service does."""
    stored = part(index, f"tree of {tree or name}")
    new = surface.NewRevision(
        digest=Digest.of(name.encode()),
        tree=stored,
        packs=None,
        files=0,
        bytes=0,
        version=None,
        boot=None,
        blobs=frozenset({stored.blob_id}),
    )
    with index.session() as session:
        number = surface.put_revision(session, 1, new, now=1)
        found = surface.find_ref(session, 1, "stable")
        version = found.version + 1 if found else 1
        surface.put_ref(session, 1, "stable", number, version, b"{}", now=1)
        delta_plan.queue(session, DeltaSettings(from_last=last), 1, "stable", number, version, now=1)
    return number


def sources(index: Index, target: int) -> list[int]:
    with index.read() as session:
        return [row.source_id for row in deltas.listing(session, target)]


def make(index: Index, target: int) -> int:
    """Let the first delta to `target` be ready; its blob's id."""
    blob = part(index, f"delta to {target}")
    with index.session() as session:
        row = deltas.listing(session, target)[0]
        assert deltas.begin(session, row.id) == 1
        assert deltas.finish(session, row.id, deltas.Made(blob.blob_id, 99, 7, 8, 2, bytes(32), ("xz-1", "gzip-1")))
    return blob.blob_id


def readable(index: Index, target: int) -> bool:
    with index.read() as session:
        return bool(surface.readers(session, Digest.of(f"delta to {target}".encode())))


def test_from_the_last_revisions_of_the_ref_each_pair_once(index: Index) -> None:
    first, second, third = publish(index, "a"), publish(index, "b"), publish(index, "c", last=1)
    assert (sources(index, first), sources(index, second), sources(index, third)) == ([], [first], [second])
    fourth = publish(index, "d")
    assert sources(index, fourth) == [third, second, first]
    publish(index, "c")
    assert sources(index, third) == [fourth, second, first]
    with index.read() as session:
        queued = [row.payload["delta"] for row in tasks.listing(session)]
    assert len(queued) == len(set(queued)) == 7


def test_zero_switches_them_off(index: Index) -> None:
    publish(index, "a", last=0)
    assert sources(index, publish(index, "b", last=0)) == []
    with index.read() as session:
        assert tasks.listing(session) == []


def test_a_ready_delta_is_offered_and_readable(index: Index) -> None:
    publish(index, "a")
    target = publish(index, "b")
    assert not readable(index, target)
    make(index, target)
    with index.read() as session:
        (offer,) = deltas.offers(session, target)
    assert offer.sources == (Digest.of(b"a"),)
    assert (offer.piece.size, offer.piece.raw_size, offer.features) == (10, 99, ("xz-1", "gzip-1"))
    assert (offer.memory, offer.scratch, offer.cpu) == (7, 8, 2)
    assert readable(index, target)


def test_deltas_go_with_either_revision(index: Index) -> None:
    first, second = publish(index, "a"), publish(index, "b")
    make(index, second)
    with index.session() as session:
        assert surface.delete_revision(session, first)
    assert sources(index, second) == []
    assert not readable(index, second)


def test_a_new_surface_of_a_revision_drops_its_deltas_the_same_one_keeps_them(index: Index) -> None:
    publish(index, "a")
    second = publish(index, "b")
    make(index, second)
    publish(index, "b")
    assert readable(index, second)
    publish(index, "b", tree="b with a signature")
    assert not readable(index, second)
    with index.read() as session:
        assert deltas.offers(session, second) == ()


def test_builds_are_counted_and_settled_once(index: Index) -> None:
    publish(index, "a")
    target = publish(index, "b")
    with index.session() as session:
        (row,) = deltas.listing(session, target)
        assert (deltas.begin(session, row.id), deltas.begin(session, row.id)) == (1, 2)
        deltas.give_back(session, row.id)
        assert deltas.begin(session, row.id) == 2
        deltas.settle(session, row.id, deltas.FAILED, "poison")
        assert deltas.begin(session, row.id) is None
        deltas.settle(session, row.id, deltas.USELESS, "too late")
        found = deltas.find(session, row.id)
    assert found is not None and (found.state, found.reason) == (deltas.FAILED, "poison")
