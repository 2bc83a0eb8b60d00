"""What was learned of files that were taken apart: finding a recipe takes an encoder's time, so it is done once.

Recipes are kept by the digest of the file. Also kept is that nothing was found. Everything is forgotten when there are
other unpackers than those that looked.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import Budget, Unpacked
from smidgen_deltas.errors import FormatError, StorageError

WORTH_KEEPING: Final = 4096  # bytes of a file; below it is quicker to look again
MAX_RECIPE: Final = 1 << 20  # bytes; a larger one is found again
_SCHEMA: Final = "CREATE TABLE recipe (sha256 BLOB PRIMARY KEY, name TEXT, version INTEGER, streams BLOB, recipe BLOB)"


@dataclass(frozen=True, slots=True)
class Known:
    """How a file was taken apart. streams: digest of what was inside.

    name: "" when it could not be, with encoders of at most `version` MiB.
    """

    name: str
    version: int
    streams: bytes
    recipe: bytes


class Book(Protocol):
    """Recipes by the sha256 of the file. Used by several threads."""

    def find(self, sha256: bytes) -> Known | None: ...
    def note(self, sha256: bytes, known: Known) -> None: ...


class Forgetful:
    """A book that keeps nothing."""

    def find(self, sha256: bytes) -> Known | None:  # noqa: ARG002 - see Book
        return None

    def note(self, sha256: bytes, known: Known) -> None:
        """See Book."""


class FileBook:
    """A book in a file, which several processes may use at once. What it cannot say or keep is not known, no more."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError."""
        generation = _generation()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("PRAGMA synchronous=OFF")  # it may be lost, but not torn: checked when used
            if self._rows.execute("PRAGMA user_version").fetchone()[0] != generation:
                self._rows.execute("DROP TABLE IF EXISTS recipe")
                self._rows.execute(_SCHEMA)
                self._rows.execute(f"PRAGMA user_version={generation}")
        except (sqlite3.Error, OSError) as error:
            raise StorageError("cannot open the book of recipes", path=str(path), reason=str(error)) from error
        self._lock = threading.Lock()

    def find(self, sha256: bytes) -> Known | None:
        query = "SELECT name, version, streams, recipe FROM recipe WHERE sha256 = ?"
        with self._lock, contextlib.suppress(sqlite3.Error), closing(self._rows.cursor()) as cursor:
            row = cursor.execute(query, (sha256,)).fetchone()
            return Known(*row) if row else None
        return None

    def note(self, sha256: bytes, known: Known) -> None:
        row = (sha256, known.name, known.version, known.streams, known.recipe)
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._rows.execute("INSERT OR REPLACE INTO recipe VALUES (?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        self._rows.close()


@contextlib.contextmanager
def open_book(path: Path | None) -> Iterator[Book]:
    """The book in a file, made if there is none; a damaged one is thrown away. Without a path one that forgets."""
    if path is None:
        yield Forgetful()
        return
    try:
        book = FileBook(path)
    except StorageError:
        path.unlink(missing_ok=True)
        book = FileBook(path)
    try:
        yield book
    finally:
        book.close()


def take_apart(data: Buffer, budget: Budget, book: Book) -> Unpacked | None:
    """As registry.unpack, but nothing is proven twice."""
    if len(data) < WORTH_KEEPING:
        return registry.unpack(data, budget)
    sha256 = hashlib.sha256(data).digest()
    known = book.find(sha256)
    if known is not None:
        if not known.name and known.version >= budget.memory >> 20:
            return None
        found = _again(data, budget, known) if known.name else None
        if found is not None:
            return found
    found = registry.unpack(data, budget)
    if found is None:
        book.note(sha256, Known("", budget.memory >> 20, b"", b""))
    elif len(found.recipe) <= MAX_RECIPE:
        book.note(sha256, Known(found.name, found.version, _digest(found.streams), found.recipe))
    return found


def looks_packed(data: Buffer) -> bool:
    """Whether some unpacker would try; a look at the first bytes."""
    view = memoryview(data).cast("B")
    return any(unpacker.sniff(view) for unpacker in registry.UNPACKERS)


def _again(data: Buffer, budget: Budget, known: Known) -> Unpacked | None:
    try:
        streams = registry.reveal(known.name, known.version, data, budget.output)
    except FormatError:
        return None
    if _digest(streams) != known.streams:
        return None
    return Unpacked(known.name, known.version, known.recipe, streams)


def _digest(streams: Sequence[Buffer]) -> bytes:
    hasher = hashlib.sha256()
    for stream in streams:
        hasher.update(len(stream).to_bytes(8, "little"))
        hasher.update(stream)
    return hasher.digest()


def _generation() -> int:
    names = "2:" + ",".join(f"{one.name}-{one.version}" for one in registry.UNPACKERS)
    return int.from_bytes(hashlib.sha256(names.encode()).digest()[:4], "little") >> 1
