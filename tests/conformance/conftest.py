"""The registry under test: `pytest tests/conformance --registry http://HOST:PORT`, or a server of our own.

Instead of the option: SMIDGEN_CONFORMANCE_URL, with SMIDGEN_CONFORMANCE_USER and SMIDGEN_CONFORMANCE_PASSWORD for a
registry that asks for a login. Every test pushes to repositories of its own below SMIDGEN_CONFORMANCE_PREFIX
("conformance" by default) and deletes what it pushed as far as it is about deleting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest

from support.oci_client import RegistryLogin, Repo
from support.server import run_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--registry", metavar="URL", help="registry to test, instead of a server of our own")


@pytest.fixture(scope="session")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client that is logged in."""
    url = request.config.getoption("--registry", None) or os.environ.get("SMIDGEN_CONFORMANCE_URL")
    if url:
        user, password = (os.environ.get(f"SMIDGEN_CONFORMANCE_{name}", "") for name in ("USER", "PASSWORD"))
        with httpx2.Client(base_url=url, auth=RegistryLogin(user, password), timeout=60) as client:
            yield client
        return
    with run_server(tmp_path_factory.mktemp("conformance")) as server:
        login = RegistryLogin("anybody", server.token)
        with httpx2.Client(base_url=server.url, auth=login, timeout=60) as client:
            yield client


def _repo(client: httpx2.Client) -> Repo:
    return Repo(client, f"{os.environ.get('SMIDGEN_CONFORMANCE_PREFIX', 'conformance')}/{uuid4().hex[:12]}")


@pytest.fixture
def repo(registry: httpx2.Client) -> Repo:
    """A repository that nobody has used."""
    return _repo(registry)


@pytest.fixture
def other(registry: httpx2.Client) -> Repo:
    """Another one."""
    return _repo(registry)


@pytest.fixture(params=["sha256", "sha512"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)
