"""The whole state of a device, opened at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.state.database import Database
from smidgen_client.state.stores import Stores
from smidgen_client.state.trees import KnownTrees
from smidgen_client.state.trust import Trust

SEED_CACHE: Final = "seeds.sqlite"


@dataclass(frozen=True, slots=True)
class State:
    """folder: where everything lies; the seed cache beside the database may be deleted at any time."""

    folder: Path
    trust: Trust
    stores: Stores

    @property
    def seed_cache(self) -> Path:
        return self.folder / SEED_CACHE

    @property
    def trees(self) -> KnownTrees:
        return KnownTrees(self.folder / "trees")

    @property
    def accounts(self) -> Path:
        """How the last pull into each store came about."""
        return self.folder / "why"

    @property
    def links(self) -> Path:
        """What links to servers were like; may be deleted at any time."""
        return self.folder / "links.json"

    @property
    def deltas(self) -> Path:
        """Beginnings of deltas that interrupted pulls were at."""
        return self.folder / "deltas"


@contextmanager
def open_state(folder: Path) -> Iterator[State]:
    """Open (or make) the state in `folder`."""
    with Database.open(folder) as database:
        yield State(folder, Trust(database), Stores(database))
