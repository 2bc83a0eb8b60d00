"""The device's memory: one SQLite file, every change one durable transaction.

What is here cannot be had again from the network (trust, versions seen, which store has what, pins, seeds), so
it is written with full synchronisation. Caches are elsewhere (`smidgen_client.seeds.index`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from smidgen_deltas.errors import StorageError, UnsupportedFeature

FILE: Final = "state.sqlite"
SCHEMA_VERSION: Final = 1
BUSY_SECONDS: Final = 30
_SCHEMA: Final = """
CREATE TABLE server_key (
    server TEXT NOT NULL, key_id TEXT NOT NULL, raw BLOB NOT NULL, how TEXT NOT NULL, added INTEGER NOT NULL,
    PRIMARY KEY (server, key_id));
CREATE TABLE seen_ref (
    server TEXT NOT NULL, ref TEXT NOT NULL, version INTEGER NOT NULL, etag TEXT NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (server, ref));
CREATE TABLE install (
    id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL, server TEXT NOT NULL, ref TEXT NOT NULL,
    revision TEXT NOT NULL, stored TEXT NOT NULL, version INTEGER NOT NULL, installed INTEGER NOT NULL);
CREATE INDEX install_address ON install (address, id);
CREATE TABLE pin (
    address TEXT NOT NULL, revision TEXT NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (address, revision));
CREATE TABLE seed (
    kind TEXT NOT NULL, path TEXT NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (kind, path));
"""


class Database:
    """An open state file; used by one thread. Use it in `with`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open or create `folder`/state.sqlite.

        Raises StorageError (cannot be created, damaged), UnsupportedFeature (written by a later version).
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(folder / FILE, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _upgrade(connection)
        except (OSError, sqlite3.Error) as error:
            raise StorageError("the state cannot be opened", path=str(folder / FILE), reason=str(error)) from error
        return cls(connection)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with _storage_errors():
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        found = self.rows(statement, *values)
        return found[0] if found else None

    def change(self, statement: str, *values: Any) -> int:
        """One durable change; returns the number of rows."""
        with _storage_errors():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes, all or none."""
        with _storage_errors():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        with _storage_errors():
            self._connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    if version > SCHEMA_VERSION:
        raise UnsupportedFeature("the state was written by a later version of smidgen", version=version)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError("the state cannot be read or written", reason=str(error)) from error
