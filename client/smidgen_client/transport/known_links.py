"""What links to servers were like when they were last used: a cache that may be lost or wrong.

One JSON file: server URL -> [bytes per second, seconds to an answer, when (UTC seconds)]. It only says what a pull
reads first; what the pull then measures itself decides.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.plan.costs import Link

MAX_FILE: Final = 64 << 10
MAX_SERVERS: Final = 64
MAX_AGE: Final = 30 * 86_400  # seconds
MAX_RATE: Final = 1e12  # bytes per second
MAX_ROUND_TRIP: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class KnownLinks:
    """The cache at `path`; times are UTC seconds."""

    path: Path

    def find(self, server: str, now: int) -> Link:
        """An unknown link when nothing (or nothing recent) is known."""
        found = self._load().get(server)
        if found is None:
            return Link()
        bandwidth, round_trip, when = found
        usable = 0 < bandwidth < MAX_RATE and 0 <= round_trip < MAX_ROUND_TRIP and 0 <= now - when <= MAX_AGE
        return Link(bandwidth, round_trip) if usable else Link()

    def keep(self, server: str, link: Link, now: int) -> None:
        """Remember a measured link. A cache that cannot be written is no error."""
        entries = self._load()
        entries.pop(server, None)
        entries[server] = (link.bandwidth, link.round_trip, now)
        kept = dict(list(entries.items())[-MAX_SERVERS:])
        part = self.path.with_suffix(f".{os.getpid()}")
        try:
            part.write_text(json.dumps(kept))
            part.replace(self.path)
        except OSError:
            part.unlink(missing_ok=True)

    def _load(self) -> dict[str, tuple[float, float, int]]:
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.read(MAX_FILE))
            return {str(server): (float(one[0]), float(one[1]), int(one[2])) for server, one in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, IndexError, OverflowError):
            return {}
