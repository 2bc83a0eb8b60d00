"""What the commands do with stores that pulls have made: verify, check out, roll back, clean up.

Each kind of store is one class with the same methods; `stores.choose` opens the right one. Callers hold the lock that
pulls take while they change something.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smidgen_client.progress import Progress
from smidgen_client.state.stores import Install


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not what its name says."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """How much was hashed, and what was wrong."""

    checked: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Removed:
    """What a clean-up took away (or would, in a dry run)."""

    revisions: tuple[str, ...]
    objects: int
    bytes: int


class Store(Protocol):
    """A store that is there."""

    @property
    def lock(self) -> Path: ...

    def current(self) -> str | None:
        """The revision (as the store names it) that is in use."""

    def verify(self, progress: Progress) -> Verified:
        """Hash everything again."""

    def checkout(self, revision: str, folder: Path) -> int:
        """Write the files of a revision below a new folder; returns how many. Raises NotFound, UsageError."""

    def rollback(self, to: Install) -> None:
        """Make what an earlier pull installed the current revision. Raises NotFound when the store lost it."""

    def clean(self, keep: Collection[str], known: Collection[str], *, dry_run: bool) -> Removed:
        """Remove what only revisions in `known` (installed by pulls) need that are neither current nor in `keep`."""
