"""The queue of builds promises the same on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.index import content, deltas, jobs, repos, surface
from smidgen_server.index.base import Index


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    index = Index(database_url)
    index.upgrade()
    with index.session() as session:
        repos.ensure_repo(session, "ostree", "os", public=True)
    yield index
    index.close()


def revision(index: Index, name: str) -> int:
    digest = Digest.of(f"tree of {name}".encode())
    with index.session() as session:
        blob_id = content.add_blob(session, digest, 10, now=1)
        new = surface.NewRevision(
            digest=Digest.of(name.encode()),
            tree=surface.Part(blob_id, digest, 10, 20),
            packs=None,
            files=0,
            bytes=0,
            version=None,
            boot=None,
            blobs=frozenset({blob_id}),
        )
        return surface.put_revision(session, 1, new, now=1)


@pytest.fixture
def target(index: Index) -> int:
    return revision(index, "target")


def want(index: Index, target: int, name: str, *, priority: int = 0, now: int = 100) -> int:
    source = revision(index, name)
    with index.session() as session:
        number = deltas.want(session, deltas.Wish(1, target, (source,), priority=priority), now=now)
    assert number is not None
    return number


def claim(index: Index, lease: str = "me", now: int = 100) -> deltas.DeltaRow | None:
    with index.session() as session:
        return jobs.claim(session, lease, now=now)


def find(index: Index, number: int) -> deltas.DeltaRow:
    with index.read() as session:
        found = deltas.find(session, number)
    assert found is not None
    return found


def test_what_matters_more_comes_first_then_what_is_older(index: Index, target: int) -> None:
    first, second = want(index, target, "a"), want(index, target, "b")
    urgent = want(index, target, "c", priority=1)
    later = want(index, target, "d", now=200)
    claimed = [claim(index) for _ in range(4)]
    assert [row.id for row in claimed if row] == [urgent, first, second]
    with index.read() as session:
        assert not jobs.ready(session, now=199) and jobs.ready(session, now=200)
    row = claim(index, now=200)
    assert row is not None and (row.id, row.state, row.attempts) == (later, deltas.BUILDING, 1)


def test_claims_at_once_never_hand_out_one_build_twice(index: Index, target: int) -> None:
    wanted = {want(index, target, f"source {number}") for number in range(12)}
    taken: list[int] = []

    def work(lease: str) -> None:
        while (row := claim(index, lease)) is not None:
            taken.append(row.id)

    threads = [threading.Thread(target=work, args=(f"lease{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work("leftover")
    assert sorted(taken) == sorted(wanted)


def test_a_silent_lease_is_taken_over_and_its_holder_is_told(index: Index, target: int) -> None:
    number = want(index, target, "a")
    assert claim(index, "first", now=100) is not None
    with index.session() as session:
        assert jobs.beat(session, number, "first", now=130)
        assert not jobs.silent(session, before=130) and jobs.release(session, (), before=130) == 0
        assert jobs.silent(session, before=131) and jobs.release(session, (), before=131) == 1
    row = claim(index, "second", now=200)
    assert row is not None and (row.id, row.attempts) == (number, 2)
    made = deltas.Made((), 0, 0, 0, 0, 0, 0, None, ())
    with index.session() as session:
        for told in (
            jobs.beat(session, number, "first", now=201),
            jobs.report(session, number, "first", 1, 2),
            jobs.give_back(session, number, "first"),
            jobs.put_off(session, number, "first", "late", until=1),
            jobs.settle(session, number, "first", deltas.FAILED, "late", now=201),
            deltas.finish(session, number, "first", made, now=201),
        ):
            assert not told
        assert jobs.report(session, number, "second", 3, 4)
    row = find(index, number)
    assert (row.state, row.done, row.total) == (deltas.BUILDING, 3, 4)


def test_leases_of_the_dead_are_released_at_once(index: Index, target: int) -> None:
    dead, alive = want(index, target, "a"), want(index, target, "b")
    assert claim(index, "dead") is not None and claim(index, "alive") is not None
    with index.session() as session:
        assert sorted(jobs.leases(session)) == ["alive", "dead"]
        assert jobs.release(session, ["dead"], before=0) == 1
    assert (find(index, dead).state, find(index, alive).state) == (deltas.WAITING, deltas.BUILDING)


def test_what_was_given_back_does_not_count_what_failed_waits(index: Index, target: int) -> None:
    number = want(index, target, "a")
    claim(index)
    with index.session() as session:
        assert jobs.give_back(session, number, "me")
    assert (find(index, number).state, find(index, number).attempts) == (deltas.WAITING, 0)
    claim(index)
    with index.session() as session:
        assert jobs.put_off(session, number, "me", "no room", until=500)
    assert claim(index, now=499) is None
    row = claim(index, now=500)
    assert row is not None and (row.attempts, row.reason) == (2, "no room")


def test_a_poison_pair_is_set_aside_with_its_reason_until_it_is_retried(index: Index, target: int) -> None:
    number = want(index, target, "a")
    claim(index)
    with index.session() as session:
        assert jobs.settle(session, number, "me", deltas.FAILED, "poison", now=7, cost=5)
        assert not jobs.cancel(session, number, "too late", now=8)
    row = find(index, number)
    assert (row.state, row.reason, row.finished, row.cost) == (deltas.FAILED, "poison", 7, 5)
    assert claim(index) is None
    with index.session() as session:
        assert jobs.retry(session, number, now=90, priority=2)
    row = find(index, number)
    assert (row.state, row.reason, row.attempts, row.priority) == (deltas.WAITING, None, 0, 2)
    assert claim(index) is not None


def test_a_cancelled_build_loses_its_lease_and_stays_away(index: Index, target: int) -> None:
    number = want(index, target, "a")
    claim(index)
    with index.session() as session:
        assert not jobs.retry(session, number, now=100)
        assert jobs.cancel(session, number, "not needed", now=100)
        assert not jobs.report(session, number, "me", 1, 2)
    assert (find(index, number).state, find(index, number).reason) == (deltas.CANCELLED, "not needed")
    assert claim(index) is None


def test_the_listing_goes_by_pages_states_and_repositories(index: Index, target: int) -> None:
    numbers = [want(index, target, f"source {number}") for number in range(4)]
    claim(index)
    with index.session() as session:
        jobs.cancel(session, numbers[3], "no", now=1)
        assert [row.id for row in jobs.listing(session, before=None, limit=2)] == numbers[3:1:-1]
        assert [row.id for row in jobs.listing(session, before=numbers[2], limit=9)] == numbers[1::-1]
        active = jobs.listing(session, states=deltas.ACTIVE, repo_id=1, before=None, limit=9)
        assert [row.id for row in active] == numbers[2::-1]
        assert jobs.listing(session, repo_id=2, before=None, limit=9) == []
        assert jobs.counts(session) == {deltas.WAITING: 2, deltas.BUILDING: 1, deltas.CANCELLED: 1}
        assert (jobs.waiting(session, priority=0), jobs.waiting(session, priority=1)) == (3, 0)
