"""Migrations on SQLite and on PostgreSQL: no drift from the tables, up-down-up, one at a time, short timeouts."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

import smidgen_server.index.tables  # noqa: F401
from smidgen_migrations import run
from smidgen_server.index.base import Index, metadata


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    found = Index(database_url)
    yield found
    found.close()


def tables(index: Index) -> set[str]:
    return set(inspect(index.engine).get_table_names())


def drift(index: Index) -> list[object]:
    with index.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def test_migrations_make_exactly_the_tables(index: Index) -> None:
    index.upgrade()
    assert drift(index) == []
    assert tables(index) == set(metadata.tables) | {"alembic_version"}


def test_up_down_up(index: Index) -> None:
    index.upgrade()
    run.downgrade(index.engine, "base")
    assert tables(index) == {"alembic_version"}
    index.upgrade()
    assert drift(index) == []


def test_every_step_goes_down_and_up_again(index: Index) -> None:
    steps = run.revisions()
    assert steps[0] == "0001_core"
    assert [int(step[:4]) for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        index.upgrade(step)
        before = tables(index)
        run.downgrade(index.engine, "-1")
        index.upgrade(step)
        assert tables(index) == before
    assert drift(index) == []


def test_constraint_names_follow_the_convention(index: Index) -> None:
    index.upgrade()
    found = inspect(index.engine)
    assert found.get_unique_constraints("repo")[0]["name"] == "uq_repo_kind_name"
    assert found.get_check_constraints("repo")[0]["name"] == "ck_repo_kind"


def test_servers_that_start_at_once_migrate_once(index: Index, database_url: str) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        other = Index(database_url)
        try:
            other.upgrade()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            other.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert drift(index) == []


@pytest.mark.needs("postgres")
def test_a_migration_gives_up_on_a_lock(postgres: str) -> None:
    """It would otherwise queue every later query behind itself."""
    index = Index(postgres)
    index.upgrade("0001_core")
    with index.engine.connect() as holder, holder.begin():
        holder.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            run.upgrade(index.engine, lock_timeout="50ms")
    index.upgrade()
    assert drift(index) == []
    index.close()
