"""The seed cache: which content lies where in which file of this device.

A cache and nothing else: it may be deleted at any time, is written without synchronisation, and is never believed. A
file whose size, time or inode changed is forgotten when it is met, and what is read from a seed is hashed
again where it is used. Of the stores that pulls have written it knows which are listed as a whole; one that lost a file
or that the cache does not know (it was deleted, or a disk was restored) has to be looked through again.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.targets.base import Place
from smidgen_deltas.errors import StorageError

SCHEMA_VERSION: Final = 3
BATCH: Final = 500
_SCHEMA: Final = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, packing TEXT NOT NULL,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, inode INTEGER NOT NULL);
CREATE TABLE content (
    sha256 BLOB NOT NULL, file INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (sha256, file, start)) WITHOUT ROWID;
CREATE INDEX content_file ON content (file);
CREATE TABLE store (root BLOB PRIMARY KEY) WITHOUT ROWID;
"""

PLAIN: Final = "plain"  # contents lie in the file as they are
FILEZ: Final = "filez"  # an object of an archive repository: one content, deflated behind a header
LAYER: Final = "layer"  # a compressed tar; start counts in the tar
MAX_TAR: Final = 1 << 40  # bytes that a layer may unpack to


@dataclass(frozen=True, slots=True)
class Location:
    """One content somewhere on this device; `start` in the file or, for LAYER, in the tar that it holds."""

    path: Path
    packing: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is the one that was looked at."""

    size: int
    mtime: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None when there is no regular file."""
        try:
            found = path.lstat()
        except OSError:
            return None
        return cls(found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None


class SeedIndex:
    """The cache, opened; used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[SeedIndex]:
        """Open or make the cache; a damaged one is made anew."""
        try:
            connection = _connect(path)
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            try:
                connection = _connect(path)
            except sqlite3.Error as error:
                raise StorageError("the seed cache cannot be made", path=str(path), reason=str(error)) from error
        try:
            yield cls(connection)
        finally:
            connection.close()

    def find(self, sha256s: Iterable[bytes]) -> dict[bytes, Location]:
        """A place for each content that has one, plain ones preferred; changed files are forgotten."""
        rows: list[tuple[bytes, int, int, int]] = []
        wanted = list(sha256s)
        for at in range(0, len(wanted), BATCH):
            some = wanted[at : at + BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT sha256, file, start, size FROM content WHERE sha256 IN ({marks})"
            rows += self._connection.execute(query, some)
        files = self._files({row[1] for row in rows})
        found: dict[bytes, Location] = {}
        for sha256, number, start, size in rows:
            if number not in files:
                continue
            path, packing = files[number]
            if sha256 not in found or (found[sha256].packing == LAYER and packing != LAYER):
                found[sha256] = Location(path, packing, start, size)
        return found

    def known(self, path: Path, stamp: Stamp) -> bool:
        """Whether a file was looked at as it is now."""
        query = "SELECT 1 FROM file WHERE path = ? AND size = ? AND mtime = ? AND inode = ?"
        row = self._connection.execute(query, (os.fsencode(path), stamp.size, stamp.mtime, stamp.inode)).fetchone()
        return row is not None

    def put(self, path: Path, packing: str, stamp: Stamp, contents: Sequence[tuple[bytes, int, int]]) -> None:
        """Remember (sha256, start, size) of the contents of a file, instead of what was known of it."""
        cursor = self._connection
        cursor.execute("DELETE FROM content WHERE file IN (SELECT id FROM file WHERE path = ?)", (os.fsencode(path),))
        cursor.execute(
            "INSERT INTO file (path, packing, size, mtime, inode) VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE"
            " SET packing = excluded.packing, size = excluded.size, mtime = excluded.mtime, inode = excluded.inode",
            (os.fsencode(path), packing, stamp.size, stamp.mtime, stamp.inode),
        )
        (number,) = cursor.execute("SELECT id FROM file WHERE path = ?", (os.fsencode(path),)).fetchone()
        cursor.executemany(
            "INSERT OR IGNORE INTO content VALUES (?, ?, ?, ?)",
            [(sha256, number, start, size) for sha256, start, size in sorted(contents)],  # in order takes half as long
        )

    def put_places(self, root: Path, packing: str, places: Iterable[Place]) -> None:
        """Remember where a store has contents, without looking: `packing` of all its files."""
        by_file: dict[str, list[tuple[bytes, int, int]]] = {}
        for place in places:
            by_file.setdefault(place.file, []).append((place.sha256, place.offset, place.size))
        with self.batch():
            for name, contents in by_file.items():
                path = root / name
                stamp = Stamp.of(path)
                if stamp is not None and not self.known(path, stamp):
                    self.put(path, packing, stamp, contents)

    def is_listed(self, root: Path) -> bool:
        """Whether all contents of a store are known."""
        return (
            self._connection.execute("SELECT 1 FROM store WHERE root = ?", (os.fsencode(root),)).fetchone() is not None
        )

    def set_listed(self, root: Path) -> None:
        self._connection.execute("INSERT OR IGNORE INTO store VALUES (?)", (os.fsencode(root),))

    def forget(self, root: Path) -> None:
        """Drop everything below a folder."""
        with self.batch():
            name = os.fsencode(root)
            self._connection.execute("DELETE FROM store WHERE root = ?", (name,))
            inside = (name, name + b"/", name + b"0")  # "0" follows "/" in ASCII
            which = "SELECT id FROM file WHERE path = ? OR (path >= ? AND path < ?)"
            self._connection.execute(f"DELETE FROM content WHERE file IN ({which})", inside)
            self._connection.execute("DELETE FROM file WHERE path = ? OR (path >= ? AND path < ?)", inside)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction for many changes."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def _files(self, numbers: set[int]) -> dict[int, tuple[Path, str]]:
        found: dict[int, tuple[Path, str]] = {}
        stale: list[tuple[int, bytes]] = []
        listed = sorted(numbers)
        for at in range(0, len(listed), BATCH):
            some = listed[at : at + BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT id, path, packing, size, mtime, inode FROM file WHERE id IN ({marks})"
            for number, path, packing, *stamp in self._connection.execute(query, some):
                named = Path(os.fsdecode(path))
                if Stamp.of(named) == Stamp(*stamp):
                    found[number] = (named, packing)
                else:
                    stale.append((number, path))
        with self.batch():
            self._connection.executemany("DELETE FROM content WHERE file = ?", [(number,) for number, _ in stale])
            self._connection.executemany("DELETE FROM file WHERE id = ?", [(number,) for number, _ in stale])
            within = "DELETE FROM store WHERE substr(?, 1, length(root) + 1) = CAST(root || x'2f' AS BLOB)"
            self._connection.executemany(within, [(path,) for _, path in stale])
        return found


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError("another version of the cache")
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
