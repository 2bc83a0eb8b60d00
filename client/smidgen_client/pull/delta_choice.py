"""Whether a delta may bring the update, and which one: before anything of it is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from smidgen_client.names import Address
from smidgen_client.progress import human
from smidgen_client.pull.delta_store import OldContents
from smidgen_client.seeds.use import Seeds
from smidgen_client.state.state import State
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.refdoc import DeltaOffer, RefDocument
from smidgen_deltas.native.tree import OstreeTree, decode_tree
from smidgen_deltas.ostree.repo import Repository


@dataclass(frozen=True, slots=True)
class DeltaReport:
    """What became of the offered deltas, for people and programs.

    Args:
        used: the update came (or would come) from a delta.
        reason: why, or why not.
        source: revision that the delta starts from; size: of the delta in bytes; both of the one that was considered.
    """

    used: bool
    reason: str
    source: str = ""
    size: int = 0

    def failed(self, error: SmidgenError) -> DeltaReport:
        return replace(self, used=False, reason=f"the delta failed: {error}")


@dataclass(frozen=True, slots=True)
class Choice:
    """`offer` with the old contents it needs, or neither."""

    report: DeltaReport
    offer: DeltaOffer | None = None
    old: OldContents | None = None


def choose(document: RefDocument, state: State, seeds: Seeds) -> Choice:
    """The smallest of the offered deltas whose sources are on this device as a whole."""
    if not document.deltas:
        return Choice(DeltaReport(used=False, reason="the server offers no delta"))
    reasons = []
    for offer in sorted(document.deltas, key=lambda one: one.piece.size):
        source = ", ".join(str(one) for one in offer.sources)
        unknown = sorted(set(offer.features) - known_features())
        if unknown:
            reasons.append(f"{source}: needs {', '.join(unknown)}, which is not known here")
            continue
        old = OldContents(seeds)
        lack = next(_lacking(offer, state, old), "")
        if lack:
            reasons.append(f"{source}: {lack}")
            continue
        reason = f"{human(offer.piece.size)} from {source}, which is here as a whole"
        return Choice(DeltaReport(used=True, reason=reason, source=source, size=offer.piece.size), offer, old)
    return Choice(DeltaReport(used=False, reason="; ".join(reasons)))


def known_features() -> set[str]:
    """Transforms that can be done here, as offers name them."""
    return {f"{one.name}-{one.version}" for one in registry.UNPACKERS}


def _lacking(offer: DeltaOffer, state: State, old: OldContents) -> Iterator[str]:
    """Add all sources of an offer to `old`; what is missing for that."""
    for revision in offer.sources:
        raw = state.trees.load(revision)
        if raw is None:
            yield "not pulled by this device"
            return
        old.add(raw, _repositories(raw, revision, state))
    if missing := old.missing():
        yield f"{missing} of its files are not here any more"


def _repositories(raw: bytes, revision: Digest, state: State) -> list[tuple[Repository, OstreeTree]]:
    """ostree repositories into which the revision was pulled."""
    found = []
    tree = decode_tree(raw)
    for address in dict.fromkeys(one.address for one in state.stores.history() if one.revision == str(revision)):
        parsed = Address.parse(address)
        if parsed.kind == "ostree" and isinstance(tree, OstreeTree):
            try:
                found.append((Repository.open(parsed.path), tree))
            except SmidgenError:
                continue
    return found
