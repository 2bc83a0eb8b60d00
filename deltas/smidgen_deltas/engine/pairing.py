"""Which old file a new one probably came from.

By path, then by path with its version parts blanked (a kernel's modules lie below a folder named after its version),
then by name, then by name with version parts blanked; among several the one closest in size.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_VERSION: Final = re.compile(r"\d+(?:[.+~:-]?\d+)*")
_HEX: Final = re.compile(r"[0-9a-f]{12,}")
MAX_RATIO: Final = 20  # files whose sizes differ by more are no pair, unless the path is the same


@dataclass(frozen=True, slots=True)
class Candidate:
    """An old file. number: its place in the list given to Pairing."""

    number: int
    path: str
    size: int


def blanked(path: str) -> str:
    """A path without its version numbers and hashes."""
    return _VERSION.sub("#", _HEX.sub("#", path))


def basename(path: str) -> str:
    return path.rpartition("/")[2]


_KEYS: Final[tuple[Callable[[str], str], ...]] = (
    lambda path: path,
    blanked,
    basename,
    lambda path: blanked(basename(path)),
)


class Pairing:
    """An index over old files."""

    def __init__(self, old: Iterable[Candidate]) -> None:
        self._maps: list[dict[str, list[Candidate]]] = [defaultdict(list) for _ in _KEYS]
        for candidate in old:
            for key, found in zip(_KEYS, self._maps, strict=True):
                found[key(candidate.path)].append(candidate)

    def find(self, path: str, size: int) -> Candidate | None:
        """The best old file for a new one at `path`, or None."""
        for rank, (key, found) in enumerate(zip(_KEYS, self._maps, strict=True)):
            near = [entry for entry in found.get(key(path), ()) if rank == 0 or _similar(entry.size, size)]
            if near:
                return min(near, key=lambda entry: (abs(entry.size - size), entry.number))
        return None


def _similar(one: int, other: int) -> bool:
    small, large = sorted((one, other))
    return large <= MAX_RATIO * max(small, 1)
