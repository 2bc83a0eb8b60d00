"""The index: an SQLAlchemy database on SQLite or PostgreSQL, one session style for both.

Rules enforced here
 * every session is synchronous and is refused on an event-loop thread (it would stop every other request)
 * a writing session takes SQLite's write lock when it begins (BEGIN IMMEDIATE), so that it never fails half-way
   with "database is locked"; readers work on a snapshot (WAL) and never wait for it
 * tables are SQLAlchemy Core tables on `metadata`; rows are written and read in sets, there are no mapped objects
 * constraint names follow one convention, so that migrations can name them on both databases
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, Final

from sqlalchemy import BigInteger, Engine, Integer, MetaData, Select, Table, create_engine, event, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.elements import SQLCoreOperations

from smidgen_deltas.errors import SettingsError, StorageError

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
BUSY_SECONDS: Final = 30
CHUNK: Final = 1000  # rows or values per statement; far below SQLite's 32,766 variables

metadata = MetaData(naming_convention=NAMING)
BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts only INTEGER PRIMARY KEY up by itself


class IndexUnavailable(StorageError):
    """The database does not answer."""

    status, hint = 503, "Check that the database is up and that its URL is right."


class Index:
    """Sessions on one database. Thread-safe; holds a connection pool."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """
        Args:
            url: `sqlite:///PATH` or `postgresql://…` (psycopg 3 is used whatever driver is named).
            pool_size: most idle connections kept; twice as many may be open at once.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise SettingsError("the database is not a URL like postgresql://user@host/name") from None
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif parsed.get_backend_name() != "sqlite" or not parsed.database:
            raise SettingsError("unsupported database", given=parsed.render_as_string(hide_password=True))
        self.url = parsed
        self.dialect = parsed.get_backend_name()
        self._write_lock = threading.Lock()
        self._thread = threading.local()
        pool: dict[str, Any] = {"pool_size": pool_size, "max_overflow": pool_size, "pool_pre_ping": True}
        connect = {"timeout": BUSY_SECONDS} if self.dialect == "sqlite" else {"connect_timeout": 10}
        self.engine: Engine = create_engine(parsed, connect_args=connect, **pool)
        self._readers = self.engine
        if self.dialect == "postgresql":
            self._readers = self.engine.execution_options(isolation_level="REPEATABLE READ")
        else:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A writing transaction: committed at the end of the block, rolled back when it raises."""
        refuse_event_loop()
        with self._one_writer(), self._translated():
            connection = self.engine.connect().execution_options(smidgen_write=True)
            with connection, Session(connection, expire_on_commit=False) as session, session.begin():
                yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A reading transaction on one snapshot; rolled back at the end whatever was done in it."""
        refuse_event_loop()
        with self._translated(), Session(self._readers, expire_on_commit=False) as session:
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to `revision` (up only); safe when several processes start at once."""
        from smidgen_migrations.run import upgrade

        refuse_event_loop()
        with self._translated():
            upgrade(self.engine, revision)

    def check(self) -> None:
        """Raise IndexUnavailable unless the database answers."""
        with self.read() as session:
            session.connection().exec_driver_sql("SELECT 1")

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """SQLite has one writer; queueing here is fair and cheap, its busy handler polls."""
        if getattr(self._thread, "writing", False):
            raise RuntimeError("a writing session was opened inside another one on the same thread")
        with self._write_lock if self.dialect == "sqlite" else nullcontext():
            self._thread.writing = True
            try:
                yield
            finally:
                self._thread.writing = False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
                raise  # a mistake in a statement, or a constraint: not the database's fault
            raise IndexUnavailable("the database failed", reason=_reason(error)) from error


def refuse_event_loop() -> None:
    """Raise RuntimeError on a thread that runs an event loop: use a `def` endpoint or `run_in_threadpool`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("a database session was opened on the event-loop thread")


def insert_ignore(session: Session, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, leaving out those that some unique constraint already has. Streams in chunks of CHUNK."""
    dialect = session.get_bind().dialect.name
    insert: Callable[[Any], Any] = postgres_insert if dialect == "postgresql" else sqlite_insert
    statement = insert(table).on_conflict_do_nothing()
    source = iter(rows)
    while chunk := [dict(row) for row in islice(source, CHUNK)]:
        session.execute(statement, chunk)


def insert_new(session: Session, table: Table, row: Mapping[str, Any]) -> int | None:
    """Insert a row and return its id; None when some unique constraint already has it (then nothing changes)."""
    insert: Callable[[Any], Any] = postgres_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    statement = insert(table).values(**row).on_conflict_do_nothing().returning(table.c.id)
    found: int | None = session.execute(statement).scalar_one_or_none()
    return found


def select_in(
    session: Session, statement: Select[Any], column: SQLCoreOperations[Any], values: Iterable[Any]
) -> Iterator[Any]:
    """Rows of `statement` whose `column` is one of `values` (any number of them), in chunks of CHUNK, in no order."""
    source = iter(values)
    while chunk := list(islice(source, CHUNK)):
        yield from session.execute(statement.where(column.in_(chunk)))


def ids_of(
    session: Session, key: SQLCoreOperations[Any], identity: SQLCoreOperations[Any], values: Sequence[Any]
) -> dict[Any, int]:
    """Map of key value -> id for those of `values` that exist."""
    return {row[0]: row[1] for row in select_in(session, select(key, identity), key, values)}


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("smidgen_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _reason(error: SQLAlchemyError) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
