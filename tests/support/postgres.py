"""A real PostgreSQL for tests: one temporary cluster per session, one database per test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

from support.programs import find_postgres

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """Listens on a Unix socket in `directory` only."""

    directory: Path

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, dropped at the end."""
        name = f"test{next(_numbers)}"
        with self._admin() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql+psycopg://postgres@/{name}?host={self.directory}"
        finally:
            with self._admin() as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"host={self.directory} user=postgres dbname=postgres", autocommit=True)


@contextmanager
def start_postgres() -> Iterator[PostgresCluster]:
    """initdb, pg_ctl start; stopped and removed at the end. As root it runs as the user `postgres`."""
    programs = find_postgres()
    assert programs is not None, "PostgreSQL's server programs are not installed"
    directory = Path(tempfile.mkdtemp(prefix="smidgen-pg-"))  # short: socket paths end at 107 bytes
    options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off -c shared_buffers=16MB"
    try:
        user = _owner(directory)
        data = str(directory / "data")
        _run([str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N"], user)
        log = str(directory / "log")
        _run([str(programs / "pg_ctl"), "-D", data, "-l", log, "-o", options, "-w", "start"], user)
        try:
            yield PostgresCluster(directory)
        finally:
            _run([str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop"], user)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _owner(directory: Path) -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres")
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    return "postgres"


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"
