"""Fixtures for all tests, and what `@pytest.mark.needs("tool")` means.

A test that needs a program which is not installed is left out by name, with the reason. With SMIDGEN_ALL_TOOLS set
(in CI) that is a failure: there nothing may be left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.programs import have

if TYPE_CHECKING:  # the fixtures import what they start: tests of formats must not wait for a server's imports
    from support.postgres import PostgresCluster
    from support.s3 import S3Server
    from support.server import RunningServer, ServerFactory

os.environ.pop("SMIDGEN_CONFIG", None)
os.environ["SMIDGEN_PREFER"] = "bytes"  # what is quickest depends on the machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("SMIDGEN_ALL_TOOLS"):
        return
    for item in items:
        missing = [tool for mark in item.iter_markers("needs") for tool in mark.args if not have(tool)]
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)} (python3 tests/tools.py)"))


@pytest.fixture(autouse=True)
def logging_is_undone() -> Iterator[None]:
    """A command of the server that runs in this process sets up the process's logging; no later test sees that."""
    yield
    if structlog := sys.modules.get("structlog"):
        structlog.reset_defaults()


@pytest.fixture
def server_factory(tmp_path: Path) -> Iterator[ServerFactory]:
    """Start a server with settings of one's own: `server_factory(auth={...})`; data in tmp_path/server<n>."""
    from support.server import run_server

    with ExitStack() as stack:
        count = iter(range(100))

        def start(data: Path | None = None, **settings: Any) -> RunningServer:
            return stack.enter_context(run_server(data or tmp_path / f"server{next(count)}", **settings))

        yield start


@pytest.fixture
def server(server_factory: ServerFactory) -> RunningServer:
    """A fresh server on SQLite and a local directory, with the settings everyone gets."""
    return server_factory()


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests of a module, where they do not disturb each other."""
    from support.server import run_server

    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresCluster]:
    from support.postgres import start_postgres

    with start_postgres() as cluster:
        yield cluster


@pytest.fixture
def postgres(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """URL of an empty database on a real PostgreSQL. Mark the test with `needs("postgres")`."""
    with postgres_cluster.database() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once on SQLite, once on PostgreSQL: for contract tests of the index."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.sqlite'}"
    url = request.getfixturevalue("postgres")
    assert isinstance(url, str)
    return url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    from support.s3 import start_s3

    with start_s3() as running:
        yield running


@pytest.fixture
def s3(s3_server: S3Server) -> dict[str, Any]:
    """Settings of `blobs` for a fresh bucket on a real S3 server (moto)."""
    return s3_server.bucket()
