"""The ways of one pull, with what they cost; the choice itself is `plan.ways`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from smidgen_client.fetch.sink import ContentSink
from smidgen_client.plan.beginning import map_may_help
from smidgen_client.plan.costs import STORE_RATE, Bill, Prices, applying, copying, unpacking
from smidgen_client.plan.ranges import RangePlan
from smidgen_client.plan.ways import Kind, Plan, Situation, Way, choose, exceeded
from smidgen_client.pull.fetching import BlobSource, PackSource
from smidgen_client.targets.base import Assembly, Decision
from smidgen_client.transport.client import Transport
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.tree import ContentRef

if TYPE_CHECKING:
    from smidgen_client.pull.delta_choice import Candidate
    from smidgen_client.pull.delta_source import DeltaSource

NO_MAP: Final = PackMap((), ())


@dataclass(frozen=True, slots=True)
class Opened:
    """A delta whose beginning, and with it the tree document, was fetched."""

    candidate: Candidate
    source: DeltaSource


@dataclass(frozen=True, slots=True)
class Route:
    """A way with all that is needed to go it.

    Args:
        wanted: contents that are needed for it; fetched: those of them that no local file has (flags).
        delta: the candidate that it takes; ranges: what it asks packs for.
    """

    way: Way
    decision: Decision
    prices: Prices
    fetched: bytearray
    delta: Candidate | None = None
    ranges: RangePlan | None = None

    @property
    def requests(self) -> int:
        return (self.ranges.requests if self.ranges else 1 if self.delta else 0) + len(self.decision.blobs)


@dataclass(slots=True)
class Routes:
    """What is known about one update once its tree document was read.

    Args:
        remote: contents that the store lacks and no local file has (flags).
        opened: the candidate that was begun with, and its source.
    """

    assembly: Assembly
    transport: Transport
    situation: Situation
    remote: bytearray
    candidates: list[Candidate]
    opened: Opened | None = None
    packmap: PackMap | None = None
    no_packs: str = ""  # why packs are no way, whatever they would cost
    routes: list[Route] = field(default_factory=list)

    def wants_map(self, size: int) -> bool:
        """Whether the pack map (of `size` bytes) should be read."""
        if not any(self.remote):
            return False
        if self.opened is None:
            return not self.quickest_whole()
        candidate, source = self.opened.candidate, self.opened.source
        left = Bill(source.left(self.remote), 0, self._applying(candidate))
        work = unpacking(*_measure(self.assembly.contents, self.remote))
        return map_may_help(self.situation, left, size, work, spare=source.spare(self.remote))

    def quickest_whole(self) -> bool:
        """Whether whole layers are quicker than contents would be, even were those here already."""
        situation = self.situation
        if situation.counts_bytes:
            return False
        decision = self.assembly.decide(NO_MAP, bytearray(len(self.remote)), situation.prices())
        way = Way("whole", "", self._whole(decision))
        return not any(self._fetched(decision)) and not exceeded(way, situation.limits)

    def plan(self) -> Plan:
        """Look at all ways and choose. Raises NoWay."""
        self.routes = [self._by_delta(one) for one in self.candidates]
        bytes_first = Prices.fewest_bytes(self.situation.request_cost)
        self.routes.append(self._by_packs(bytes_first))
        if not self.situation.by_bytes:
            quick = self._by_packs(self.situation.prices())
            if quick.decision != self.routes[-1].decision:
                self.routes.append(quick)
        plan = choose([one.way for one in self.routes], self.situation)
        self._settle(self.routes[plan.chosen])
        return plan

    def _settle(self, route: Route) -> None:
        """Let the assembly go by the chosen route: its last decision counts."""
        none = route.delta is not None
        self._decide(route.prices, none=none)

    def _decide(self, prices: Prices, *, none: bool) -> Decision:
        """none: nothing has to be fetched for a layer's contents alone, since a delta brings them."""
        if none:
            return self.assembly.decide(NO_MAP, bytearray(len(self.remote)), prices)
        return self.assembly.decide(self.packmap or NO_MAP, self.remote, prices)

    def _by_delta(self, candidate: Candidate) -> Route:
        offer, prices = candidate.offer, Prices.fewest_bytes(self.situation.request_cost)
        decision = self._decide(prices, none=True)
        fetched = self._fetched(decision)
        left, requests = offer.piece.size, 1
        if self.opened is not None and self.opened.candidate is candidate:
            left, requests = self.opened.source.left(fetched), 0 if self.opened.source.streaming else 1
        work = self._applying(candidate) + self._local(decision, fetched) + decision.work
        bill = Bill(left, requests, work) + self._whole(decision)
        way = way_of(candidate, bill)
        if not any(fetched) and not way.unfit:
            way = replace(way, unfit="nothing that it brings is missing")
        return Route(way, decision, prices, fetched, candidate)

    def _applying(self, candidate: Candidate) -> float:
        size = candidate.offer.piece.raw_size
        if self.opened is not None and self.opened.candidate is candidate:
            size = min(size, _measure(self.assembly.contents, self.remote)[0])
        return applying(size, candidate.offer.work)

    def _by_packs(self, prices: Prices) -> Route:
        decision = self._decide(prices, none=False)
        fetched = self._fetched(decision)
        bill = self._whole(decision)
        ranges = None
        if self.packmap is not None:
            packs = PackSource(self.transport, self.packmap, cost=self.situation.request_cost, connections=1)
            assembly = self.assembly
            ranges = packs.plan(ContentSink(assembly.contents, bytearray(fetched), assembly, assembly.parts))
            bill += Bill(ranges.total, ranges.requests, unpacking(*_measure(assembly.contents, fetched)))
        bill += Bill(cpu=self._local(decision, fetched) + decision.work)
        better = "the delta that is begun cannot be much dearer" if self.opened else "whole layers are quicker"
        unread = f"its map was not read: {better}"
        unfit = (self.no_packs or unread) if self.packmap is None and any(fetched) else ""
        kind, name = _name(decision, fetched)
        return Route(Way(kind, name, bill, unfit=unfit), decision, prices, fetched, None, ranges)

    def _fetched(self, decision: Decision) -> bytearray:
        return bytearray(want & far for want, far in zip(decision.wanted, self.remote, strict=True))

    def _local(self, decision: Decision, fetched: bytearray) -> float:
        """Work for what comes from other stores of this device."""
        near = bytearray(want and not far for want, far in zip(decision.wanted, fetched, strict=True))
        return copying(*_measure(self.assembly.contents, near))

    def _whole(self, decision: Decision) -> Bill:
        size = BlobSource(self.transport, self.assembly, 1).plan(decision.blobs)
        return Bill(size, len(decision.blobs), size / STORE_RATE)


def way_of(candidate: Candidate, bill: Bill) -> Way:
    """A delta as a way that costs `bill`."""
    offer = candidate.offer
    name = f"delta from {candidate.source}"
    return Way("delta", name, bill, offer.memory, offer.scratch, offer.cpu, candidate.unfit)


def _measure(contents: Iterable[ContentRef], flags: bytearray) -> tuple[int, int]:
    """Bytes and number of the flagged contents."""
    return sum(ref.size for ref, flag in zip(contents, flags, strict=True) if flag), sum(flags)


def _name(decision: Decision, fetched: bytearray) -> tuple[Kind, str]:
    if any(fetched):
        return "packs", "packs and whole layers" if decision.blobs else "packs"
    return ("whole", "whole layers") if decision.blobs else ("local", "what is on this device")
