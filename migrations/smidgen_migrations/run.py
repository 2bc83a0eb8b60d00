"""Run migrations on an engine. One process at a time; on PostgreSQL with short lock and statement timeouts.

A migration that waits for a lock makes every later query wait behind it, so it gives up after LOCK_TIMEOUT and can
simply be run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from smidgen_deltas.errors import SettingsError

LOCK_TIMEOUT: Final = "4s"
STATEMENT_TIMEOUT: Final = "5s"
ADVISORY_LOCK: Final = 0x736D6964  # "smid"


def upgrade(engine: Engine, revision: str = "head", *, lock_timeout: str = LOCK_TIMEOUT) -> None:
    """Go up to `revision`. Nothing is changed when the schema is there already.

    Raises:
        SettingsError: the database was made by a newer version.
    """
    with _locked(engine) as connection, connection.begin():
        _guard(connection, lock_timeout)
        found = current(connection)
        if found is not None and found not in revisions():
            raise SettingsError("the database was made by a newer version of smidgen", schema=found, known=head())
        if revision != "head" or found != head():
            command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go down to `revision` ("base" drops everything)."""
    with _locked(engine) as connection, connection.begin():
        _guard(connection, LOCK_TIMEOUT)
        command.downgrade(_config(connection), revision)


def current(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The newest revision this program knows."""
    return _scripts().get_current_head()


def revisions() -> list[str]:
    """All revisions, oldest first."""
    return [script.revision for script in _scripts().walk_revisions()][::-1]


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


def _locked(engine: Engine) -> Connection:
    """On SQLite the transaction itself begins with the write lock."""
    return engine.connect().execution_options(smidgen_write=True)


def _guard(connection: Connection, lock_timeout: str) -> None:
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{lock_timeout}'")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
