"""Which of the offered deltas could bring the update: before anything of them is fetched.

What applies deltas is loaded only for one that is about to be used: that takes as long as fetching a small update.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smidgen_client.names import Address
from smidgen_client.seeds.use import Seeds
from smidgen_client.state.state import State
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.refdoc import DeltaOffer, RefDocument

if TYPE_CHECKING:
    from smidgen_client.pull.delta_store import OldContents
    from smidgen_deltas.ostree.repo import Repository


@dataclass(slots=True)
class Candidate:
    """An offered delta. unfit: why it cannot be used, "" as far as known; old: its sources, once looked up."""

    offer: DeltaOffer
    unfit: str = ""
    old: OldContents | None = None

    @property
    def source(self) -> str:
        return ", ".join(str(one) for one in self.offer.sources)


def candidates(document: RefDocument, state: State) -> list[Candidate]:
    """All offers, smallest first; of those that cannot be used the reason is known as far as it costs nothing."""
    found = []
    for offer in sorted(document.deltas, key=lambda one: one.piece.size):
        here = all(state.trees.has(source) for source in offer.sources)
        found.append(Candidate(offer, "" if here else "not pulled by this device"))
    return found


def look_up(candidate: Candidate, state: State, seeds: Seeds) -> bool:
    """Find the sources of a candidate on this device; whether it can still be used."""
    if candidate.unfit or candidate.old is not None:
        return not candidate.unfit
    from smidgen_client.pull.delta_store import OldContents

    old = OldContents(seeds)
    candidate.unfit = next(_lacking(candidate.offer, state, old), "")
    if not candidate.unfit:
        candidate.old = old
    return not candidate.unfit


def known_features() -> set[str]:
    """Transforms that can be done here, as offers name them."""
    from smidgen_deltas.engine.unpackers import registry

    return {f"{one.name}-{one.version}" for one in registry.UNPACKERS}


def _lacking(offer: DeltaOffer, state: State, old: OldContents) -> Iterator[str]:
    """Add all sources of an offer to `old`; what is missing for that."""
    if unknown := sorted(set(offer.features) - known_features()):
        yield f"needs {', '.join(unknown)}, which is not known here"
        return
    for revision in offer.sources:
        raw = state.trees.load(revision)
        if raw is None:
            yield "not pulled by this device"
            return
        old.add(raw, _repositories(revision, state))
    if missing := old.missing():
        yield f"{missing} of its files are not here any more"


def _repositories(revision: Digest, state: State) -> list[Repository]:
    """ostree repositories into which the revision was pulled."""
    from smidgen_deltas.ostree.repo import Repository

    found = []
    for address in dict.fromkeys(one.address for one in state.stores.history() if one.revision == str(revision)):
        parsed = Address.parse(address)
        if parsed.kind == "ostree":
            try:
                found.append(Repository.open(parsed.path))
            except SmidgenError:
                continue
    return found
