"""The index on SQLite and on PostgreSQL: the same sessions, the same answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from smidgen_deltas.errors import NotFound, SettingsError
from smidgen_server.index.base import CHUNK, Index, IndexUnavailable, ids_of, insert_ignore, select_in
from smidgen_server.index.repos import ensure_repo, find_repo, is_public, set_public
from smidgen_server.index.tables.core import blob, content, repo


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    found = Index(database_url)
    found.upgrade()
    yield found
    found.close()


def keys(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def rows(index: Index) -> int:
    with index.read() as session:
        return session.scalar(select(func.count()).select_from(content)) or 0


def test_a_session_commits_at_its_end(index: Index) -> None:
    with index.session() as session:
        session.execute(insert(content), [{"sha256": bytes(32), "size": 1 << 40}])
    with index.read() as session:
        assert session.execute(select(content.c.sha256, content.c.size)).all() == [(bytes(32), 1 << 40)]


def test_a_session_that_raises_changes_nothing(index: Index) -> None:
    with pytest.raises(RuntimeError), index.session() as session:
        session.execute(insert(content), [{"sha256": bytes(32), "size": 1}])
        raise RuntimeError
    assert rows(index) == 0


def test_a_reading_session_changes_nothing(index: Index) -> None:
    with index.read() as session:
        session.execute(insert(content), [{"sha256": bytes(32), "size": 1}])
    assert rows(index) == 0


def test_rows_that_are_there_are_left_alone(index: Index) -> None:
    many = keys(2 * CHUNK + 7)
    with index.session() as session:
        insert_ignore(session, content, ({"sha256": key, "size": 1} for key in many[::2]))
    with index.session() as session:
        insert_ignore(session, content, ({"sha256": key, "size": 2} for key in [*many, *many[:5]]))
        found = {row.sha256: row.size for row in session.execute(select(content.c.sha256, content.c.size))}
    assert found == {key: 1 + number % 2 for number, key in enumerate(many)}


def test_any_number_of_keys_can_be_looked_up(index: Index) -> None:
    many = keys(2 * CHUNK + 7)
    with index.session() as session:
        insert_ignore(session, content, ({"sha256": key, "size": number} for number, key in enumerate(many)))
        sizes = select_in(session, select(content.c.size), content.c.sha256, many)
        assert sorted(row.size for row in sizes) == list(range(len(many)))
        found = ids_of(session, content.c.sha256, content.c.id, [many[3], b"x" * 32])
    assert list(found) == [many[3]]


def test_many_threads_write_at_once(index: Index) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                with index.session() as session:
                    session.scalar(select(func.count()).select_from(content))
                    insert_ignore(session, content, [{"sha256": bytes([number, step] * 16), "size": 1}])
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(index) == 80


def test_two_processes_worth_of_pools_write_in_turn(index: Index, database_url: str) -> None:
    """Another Index has another lock: what remains is the database's own waiting."""
    other = Index(database_url)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with other.session() as session:
            insert_ignore(session, content, [{"sha256": bytes(32), "size": 1}])
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    timer = threading.Timer(0.3, leave.set)
    timer.start()
    with index.session() as session:
        insert_ignore(session, content, [{"sha256": bytes(32), "size": 2}])
    holder.join()
    other.close()
    with index.read() as session:
        assert session.scalars(select(content.c.size)).all() == [1]


def test_a_reader_keeps_its_snapshot_and_does_not_block_writers(index: Index) -> None:
    with index.read() as session:
        assert session.scalar(select(func.count()).select_from(content)) == 0
        writer = threading.Thread(target=_add_one, args=(index,))
        writer.start()
        writer.join(10)
        assert not writer.is_alive()
        assert session.scalar(select(func.count()).select_from(content)) == 0
    assert rows(index) == 1


def _add_one(index: Index) -> None:
    with index.session() as session:
        session.execute(insert(content), [{"sha256": bytes(32), "size": 1}])


def test_constraints_hold(index: Index) -> None:
    for table, row in [
        (repo, {"kind": "rpm", "name": "x", "public": True}),
        (repo, {"kind": "oci", "name": "x", "public": None}),
        (blob, {"digest": None, "size": 1, "created": 1}),
    ]:
        with pytest.raises(IntegrityError), index.session() as session:
            session.execute(insert(table), [row])


def test_repositories(index: Index) -> None:
    with index.session() as session:
        first = ensure_repo(session, "oci", "team/app", public=True)
        assert ensure_repo(session, "oci", "team/app", public=False) == first
        other = ensure_repo(session, "ostree", "team/app", public=False)
        assert other != first
    with index.session() as session:
        assert find_repo(session, "oci", "team/app") == first
        assert find_repo(session, "oci", "Team/App") is None
        assert is_public(session, "oci", "team/app") is True
        assert is_public(session, "ostree", "team/app") is False
        assert is_public(session, "oci", "none") is None
        set_public(session, "oci", "team/app", public=False)
        assert is_public(session, "oci", "team/app") is False
        with pytest.raises(NotFound):
            set_public(session, "oci", "none", public=False)


def test_sessions_are_refused_on_the_event_loop(index: Index) -> None:
    async def wrong() -> None:
        for use in (index.session, index.read):
            with pytest.raises(RuntimeError, match="event-loop"), use():
                pass
        with pytest.raises(RuntimeError, match="event-loop"):
            index.upgrade()
        await asyncio.to_thread(index.check)

    asyncio.run(wrong())


def test_a_writing_session_inside_another_is_a_mistake(index: Index) -> None:
    with index.session(), pytest.raises(RuntimeError, match="inside another"):
        with index.session():
            pass
    with index.session() as session:
        insert_ignore(session, content, [{"sha256": bytes(32), "size": 1}])


def test_it_answers(index: Index) -> None:
    index.check()


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/directory.sqlite", "postgresql://nobody@127.0.0.1:1/none"):
        index = Index(url)
        with pytest.raises(IndexUnavailable) as failure:
            index.check()
        assert failure.value.status == 503
        index.close()


@pytest.mark.parametrize("url", ["mysql://u:geheim@h/db", "sqlite://", "oracle://x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError) as failure:
        Index(url)
    assert "geheim" not in str(failure.value)
