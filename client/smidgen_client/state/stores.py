"""What is installed where, what is pinned, which seeds there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from smidgen_client.state.database import Database
from smidgen_deltas.errors import UsageError

SEED_FORMS: Final = "a seed is named ostree:PATH, oci:PATH, containers:PATH or folder:PATH"
SeedKind = Literal["ostree", "oci", "containers", "folder"]


@dataclass(frozen=True, slots=True)
class Install:
    """One finished pull.

    Args:
        id: grows with every pull.
        address: the target, as `ostree:/path`, `oci:/path:tag` or `tree:/path`.
        server, ref: where it came from; ref as `ostree/NAME/REF` or `oci/NAME:TAG`.
        revision: digest text of what the ref named; `stored` of what the store holds (differs for rewritten images).
        version: of the ref document. installed: UTC seconds.
    """

    id: int
    address: str
    server: str
    ref: str
    revision: str
    stored: str
    version: int
    installed: int


@dataclass(frozen=True, slots=True)
class Seed:
    """A place with files that updates may be made from."""

    kind: SeedKind
    path: str


class Stores:
    """The part of the state about this device's stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, install: Install) -> None:
        """Add to the history of a store (`install.id` is ignored)."""
        self._database.change(
            "INSERT INTO install (address, server, ref, revision, stored, version, installed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            install.address,
            install.server,
            install.ref,
            install.revision,
            install.stored,
            install.version,
            install.installed,
        )

    def history(self, address: str | None = None) -> list[Install]:
        """Newest first; of one store or of all."""
        where, values = ("WHERE address = ?", (address,)) if address else ("", ())
        rows = self._database.rows(
            "SELECT id, address, server, ref, revision, stored, version, installed"
            f" FROM install {where} ORDER BY id DESC",
            *values,
        )
        return [Install(*row) for row in rows]

    def current(self, address: str | None = None) -> list[Install]:
        """The newest of each (store, ref)."""
        found: dict[tuple[str, str], Install] = {}
        for install in self.history(address):
            found.setdefault((install.address, install.ref), install)
        return list(found.values())

    def forget(self, ids: list[int]) -> None:
        """Remove entries of the history."""
        with self._database.transaction():
            for number in ids:
                self._database.change("DELETE FROM install WHERE id = ?", number)

    def pin(self, address: str, revision: str, now: int) -> None:
        self._database.change("INSERT OR IGNORE INTO pin VALUES (?, ?, ?)", address, revision, now)

    def unpin(self, address: str, revision: str) -> bool:
        """Whether there was such a pin."""
        return self._database.change("DELETE FROM pin WHERE address = ? AND revision = ?", address, revision) > 0

    def pins(self, address: str | None = None) -> list[tuple[str, str]]:
        """(address, revision) pairs."""
        where, values = ("WHERE address = ?", (address,)) if address else ("", ())
        return [
            (row[0], row[1])
            for row in self._database.rows(f"SELECT address, revision FROM pin {where} ORDER BY 1, 2", *values)
        ]

    def add_seed(self, kind: str, path: str, now: int) -> Seed:
        seed = Seed(check_seed_kind(kind), path)
        self._database.change("INSERT OR IGNORE INTO seed VALUES (?, ?, ?)", seed.kind, seed.path, now)
        return seed

    def remove_seed(self, kind: str, path: str) -> bool:
        """Whether there was such a seed."""
        return self._database.change("DELETE FROM seed WHERE kind = ? AND path = ?", kind, path) > 0

    def seeds(self) -> list[Seed]:
        return [Seed(*row) for row in self._database.rows("SELECT kind, path FROM seed ORDER BY added, kind, path")]


def check_seed_kind(kind: str) -> SeedKind:
    """Raises UsageError."""
    for known in get_args(SeedKind):
        if kind == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(SEED_FORMS, given=kind[:100])
