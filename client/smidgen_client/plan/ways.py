"""Which of several ways to take. Pure: the same facts give the same choice.

The rule, whatever the ways are:

 * one that needs more memory, scratch space, work or bytes than the device allows is out
 * `bytes` (always on a metered link): the fewest bytes, a request counting as some
 * `time`: the fewest seconds, where seconds = bytes / bandwidth + requests x round trip + CPU seconds / cores
 * `auto`: as `time` on a link of FAST or more; on a slower one as `time` too, but only among ways that fetch at most
   SLACK times the fewest bytes; where the link is unknown as `bytes`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from smidgen_client.plan.costs import Bill, Link, Prices
from smidgen_deltas.errors import ByteBudgetExceeded

FAST: Final = 100e6 / 8  # bytes per second
SLACK: Final = 4.0

Prefer = Literal["auto", "bytes", "time"]
PREFERENCES: Final[tuple[Prefer, ...]] = ("auto", "bytes", "time")
Kind = Literal["delta", "packs", "whole", "local"]


class NoWay(ByteBudgetExceeded):
    """No way to the update is within what the device allows."""

    hint = "Allow more of what is named (--max-bytes, --max-memory, --max-scratch), or use a larger device."


@dataclass(frozen=True, slots=True)
class Limits:
    """What the device allows; None for no limit. Bytes, but cpu: the highest class of native.delta.Cpu."""

    bytes: int | None = None
    memory: int | None = None
    scratch: int | None = None
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything about the device and its link that a choice depends on.

    Args:
        request_cost: bytes that a request is worth where bytes are counted.
    """

    link: Link = Link()
    cores: int = 1
    prefer: Prefer = "auto"
    limits: Limits = Limits()
    request_cost: int = 64 << 10

    @property
    def by_bytes(self) -> bool:
        """Whether only bytes count."""
        return self.prefer == "bytes" or not self.link.known

    @property
    def counts_bytes(self) -> bool:
        """Whether bytes count at all: only they do, or a way that fetches many more is out."""
        return self.by_bytes or (self.prefer == "auto" and self.link.bandwidth < FAST)

    def prices(self) -> Prices:
        """For choices inside a way."""
        if self.by_bytes:
            return Prices.fewest_bytes(self.request_cost)
        return Prices.least_time(self.link, self.cores)

    def seconds(self, bill: Bill) -> float:
        return self.link.seconds(bill, self.cores)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the update.

    Args:
        name: for people: `delta from sha256:…`, `packs`, …
        memory, scratch: bytes; cpu: class of work.
        unfit: why it cannot be taken at all; "" when it can.
    """

    kind: Kind
    name: str
    bill: Bill
    memory: int = 0
    scratch: int = 0
    cpu: int = 0
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Considered:
    """A way that was looked at. seconds: estimated, 0 on an unknown link; why_not: "" for the chosen one."""

    kind: Kind
    name: str
    bytes: int
    requests: int
    cpu_seconds: float
    seconds: float
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was chosen among what. rule: the rule that decided, for people."""

    chosen: int
    considered: tuple[Considered, ...]
    rule: str
    order: tuple[int, ...] = field(default=())  # of the ways that fit, best first

    @property
    def best(self) -> Considered:
        return self.considered[self.chosen]


def choose(ways: Sequence[Way], situation: Situation) -> Plan:
    """Raises NoWay when none fits; its detail has the reasons."""
    unfit = [way.unfit or exceeded(way, situation.limits) for way in ways]
    order = ranked(ways, situation)
    if not order:
        raise NoWay("no way to the update fits this device", reasons=[reason for reason in unfit if reason][:8])
    fewest = min(ways[at].bill.bytes for at in order)
    best = ways[order[0]].bill
    considered = tuple(
        _considered(way, situation, "" if at == order[0] else unfit[at] or _worse(way.bill, best, situation, fewest))
        for at, way in enumerate(ways)
    )
    return Plan(order[0], considered, describe_rule(situation), order)


def ranked(ways: Sequence[Way], situation: Situation) -> tuple[int, ...]:
    """Those that fit, best first."""
    fit = [at for at, way in enumerate(ways) if not way.unfit and not exceeded(way, situation.limits)]
    fewest = min((ways[at].bill.bytes for at in fit), default=0)
    return tuple(sorted(fit, key=lambda at: _rank(ways[at].bill, situation, fewest)))


def describe_rule(situation: Situation) -> str:
    """The rule in force, in words."""
    link = situation.link
    speed = f"{link.bandwidth * 8 / 1e6:.3g} Mbit/s, {link.round_trip * 1000:.3g} ms" if link.known else "unknown"
    if situation.prefer == "bytes":
        return "fewest bytes, as asked"
    if situation.by_bytes:
        return "fewest bytes: the link is unknown"
    if situation.prefer == "time":
        return f"fewest seconds, as asked; link {speed}"
    if link.bandwidth >= FAST:
        return f"fewest seconds: the link is fast ({speed})"
    return f"fewest seconds among ways of at most {SLACK:g} times the fewest bytes; link {speed}"


def exceeded(way: Way, limits: Limits) -> str:
    """What of a way is over the limits; "" when nothing is."""
    return "; ".join(_exceeded(way, limits))


def _exceeded(way: Way, limits: Limits) -> Iterator[str]:
    for what, need, limit in (
        ("bytes", way.bill.bytes, limits.bytes),
        ("bytes of memory", way.memory, limits.memory),
        ("bytes of scratch space", way.scratch, limits.scratch),
        ("as class of work", way.cpu, limits.cpu),
    ):
        if limit is not None and need > limit:
            yield f"needs {need:,} {what}, {limit:,} are allowed"


def _rank(bill: Bill, situation: Situation, fewest: int) -> tuple[bool, float, float]:
    """Sorts best first: whether it fetches too much, its price, and on a tie the work."""
    return _wasteful(bill, situation, fewest), situation.prices().of(bill), bill.cpu


def _wasteful(bill: Bill, situation: Situation, fewest: int) -> bool:
    if situation.prefer != "auto" or situation.by_bytes or situation.link.bandwidth >= FAST:
        return False
    return bill.bytes > max(SLACK * fewest, fewest + situation.request_cost)


def _worse(bill: Bill, best: Bill, situation: Situation, fewest: int) -> str:
    if _wasteful(bill, situation, fewest):
        return f"fetches {bill.bytes:,} bytes where {fewest:,} do; the link is not fast enough for that"
    if situation.by_bytes:
        return f"{bill.bytes - best.bytes:,} bytes and {bill.requests - best.requests} requests more"
    return f"{situation.seconds(bill) - situation.seconds(best):.1f} s slower"


def _considered(way: Way, situation: Situation, why_not: str) -> Considered:
    bill = way.bill
    return Considered(
        way.kind,
        way.name,
        bill.bytes,
        bill.requests,
        round(bill.cpu, 3),
        round(situation.seconds(bill), 3),
        why_not,
    )
