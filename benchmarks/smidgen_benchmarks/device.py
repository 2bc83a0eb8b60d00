"""A simulated device: its own folder, state and store; pulls in this process with all of the client's planning."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.memory import tame_allocator
from smidgen_client.names import Address, RefName
from smidgen_client.progress import Silent
from smidgen_client.pull.request import PullRequest
from smidgen_client.pull.run import Pull
from smidgen_client.state.state import open_state
from smidgen_client.stores.choose import open_store
from smidgen_client.transport.client import Options, Transport

REF: Final = "ostree/fleet/stable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pull cost. verified: the store was hashed again and is at the revision that was told; way: as planned."""

    revision: str
    fetched: int
    requests: int
    seconds: float
    way: str
    verified: bool


def pull(folder: Path, url: str) -> Outcome:
    """Bring the repository of the device in `folder` to what REF names on the server; then hash all of it."""
    tame_allocator()
    address = Address.parse(f"ostree:{folder / 'repo'}")
    wish = PullRequest(name=RefName.parse(REF), target=address, mode="bare-user-only", prefer="bytes")
    started = time.perf_counter()
    with open_state(folder / "state") as state:
        with Transport(url, Options()) as transport:
            result = Pull(state, transport, wish, Silent()).run()
        seconds = time.perf_counter() - started
        checked = open_store(address, state.stores).verify(Silent())
    plan = result.plan
    way = plan.considered[plan.chosen].name.partition(" from ")[0] if plan else "unchanged"
    whole = checked.ok and checked.checked > 0
    return Outcome(result.revision, result.bytes_fetched, result.requests, seconds, way, whole)
