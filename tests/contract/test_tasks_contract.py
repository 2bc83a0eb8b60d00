"""The task queue promises the same on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from smidgen_deltas.errors import DigestMismatch
from smidgen_server.index import tasks as rows
from smidgen_server.index.base import Index
from smidgen_server.services.container import Services
from smidgen_server.services.tasks import Progress, Tasks

NOBODY = cast(Services, None)  # these handlers do not look at the server


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    index = Index(database_url)
    index.upgrade()
    yield index
    index.close()


def add(index: Index, lane: str, number: int = 0) -> int:
    with index.session() as session:
        return rows.add(session, "count", lane, {"number": number}, now=100)


def claim(index: Index, owner: str = "me", now: int = 100) -> rows.TaskRow | None:
    with index.session() as session:
        return rows.claim(session, owner, now=now)


def finish(index: Index, number: int, error: dict[str, Any] | None = None) -> None:
    with index.session() as session:
        rows.finish(session, number, "me", error, now=101)


def test_oldest_first_and_one_at_a_time_per_lane(index: Index) -> None:
    first, second, other = add(index, "a", 1), add(index, "a", 2), add(index, "b", 3)
    one, two = claim(index), claim(index)
    assert one is not None and (one.id, one.payload) == (first, {"number": 1})
    assert two is not None and two.id == other
    assert claim(index) is None
    finish(index, first)
    three = claim(index)
    assert three is not None and three.id == second


def test_claims_at_once_never_hand_out_one_task_twice(index: Index) -> None:
    wanted = {add(index, f"lane{number}") for number in range(12)}
    taken: list[int] = []

    def work(owner: str) -> None:
        while (row := claim(index, owner)) is not None:
            taken.append(row.id)

    threads = [threading.Thread(target=work, args=(f"owner{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leftover = claim(index)
    while leftover is not None:
        taken.append(leftover.id)
        leftover = claim(index)
    assert sorted(taken) == sorted(wanted)


def test_silent_owner_loses_its_task_after_the_lease(index: Index) -> None:
    number = add(index, "a")
    assert claim(index, now=100) is not None
    with index.session() as session:
        rows.release_lapsed(session, now=100 + rows.LEASE_SECONDS)
    assert claim(index) is None
    with index.session() as session:
        rows.release_lapsed(session, now=101 + rows.LEASE_SECONDS)
    again = claim(index, "other", now=200)
    assert again is not None and again.id == number
    with index.session() as session:
        assert not rows.report(session, number, "me", 1, 2, "files", now=201)
        assert rows.report(session, number, "other", 1, 2, "files", now=201)


def test_work_done_and_failed_is_told(index: Index) -> None:
    def count(_services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
        progress(payload["number"], 3, "steps")
        if payload["number"] == 2:
            raise DigestMismatch("not what was promised", expected="aa", found="bb")
        if payload["number"] == 1:
            raise ZeroDivisionError("a fault of ours")

    tasks = Tasks(index)
    tasks.start(NOBODY, {"count": count})
    numbers = [tasks.submit("count", "lane", {"number": number}) for number in (3, 2, 1)]
    done, wrong, broken = [tasks.wait(number, 30) for number in numbers]
    tasks.stop()
    assert (done.state, done.done, done.total, done.unit, done.error) == ("done", 3, 3, "steps", None)
    assert wrong.state == "failed" and wrong.error is not None
    assert (wrong.error["code"], wrong.error["detail"]) == ("DIGEST_INVALID", {"expected": "aa", "found": "bb"})
    assert broken.state == "failed" and broken.error is not None
    assert "ZeroDivisionError" in broken.error["message"]
    assert [row.id for row in tasks.listing(("failed",), None, 10)] == [numbers[2], numbers[1]]
    assert [row.id for row in tasks.listing((), numbers[2], 10)] == [numbers[1], numbers[0]]


def test_the_same_wish_twice_is_one_task_while_it_waits(index: Index) -> None:
    tasks = Tasks(index)
    assert tasks.submit("count", "a", {"number": 1}) == tasks.submit("count", "a", {"number": 1})
    assert tasks.submit("count", "a", {"number": 1}) != tasks.submit("count", "a", {"number": 2})


def test_stopping_puts_work_back_and_a_restart_takes_it_up(index: Index) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(_services: Services, _payload: Mapping[str, Any], progress: Progress) -> None:
        begun.set()
        while True:
            progress(1, 2, "steps")

    def quick(_services: Services, _payload: Mapping[str, Any], progress: Progress) -> None:
        progress(2, 2, "steps")
        ended.set()

    first = Tasks(index)
    first.start(NOBODY, {"count": endless})
    number = first.submit("count", "a", {})
    assert begun.wait(30)
    first.stop()
    found = first.find(number)
    assert found is not None and found.state == "queued"
    second = Tasks(index)
    second.start(NOBODY, {"count": quick})
    assert second.wait(number, 30).state == "done" and ended.is_set()
    second.stop()


def test_a_dead_process_of_this_machine_is_noticed_at_once(index: Index) -> None:
    from smidgen_server.services.tasks_owner import gone, owner_name

    me = owner_name()
    host, boot, pid, _ = me.split(":")
    assert gone(f"{host}:{boot}:{pid}:earlier", me)
    assert gone(f"{host}:{boot}:4194304000:x", me)
    assert gone(f"{host}:otherboot:1:x", me)
    assert not gone(f"{host}:{boot}:1:x", me)
    assert not gone(f"elsewhere:{boot}:4194304000:x", me)
    assert not gone("garbage", me)
