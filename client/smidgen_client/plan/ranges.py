"""From missing contents to few range requests. Pure: the same map and the same gaps give the same plan.

A request costs as much as `request_cost` bytes (round trip times bandwidth), so two needed frames of a pack are
fetched together when the bytes between them are fewer. When that still makes more than MANY requests, the cost is
raised as long as the bytes fetched in vain stay under a share of those needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_client.transport.content_range import Span
from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.native.packmap import FOREIGN, Frame, PackMap

REQUEST_COST: Final = 64 << 10
MIN_COST: Final = 16 << 10
MAX_COST: Final = 1 << 20
MANY: Final = 48
WASTE_SHARE: Final = 0.05
FRAME_OVERHEAD: Final = 1 << 12  # a stored frame may be this much (and 1 %) longer than its content


@dataclass(frozen=True, slots=True)
class FetchRange:
    """One request: `span` of a pack, and the frames in it that are wanted, ascending."""

    span: Span
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class PackJob:
    """The ranges wanted of one pack (index into the map's packs), ascending."""

    pack: int
    ranges: tuple[FetchRange, ...]


@dataclass(frozen=True, slots=True)
class RangePlan:
    """What will be asked for. `needed` counts the bytes of wanted frames, `total` those of the requests."""

    jobs: tuple[PackJob, ...]
    needed: int
    total: int
    requests: int


def request_cost(round_trip: float, bandwidth: float) -> int:
    """Bytes that a request is worth on a link: seconds times bytes per second, within sane bounds."""
    return int(min(MAX_COST, max(MIN_COST, round_trip * bandwidth)))


def wanted_frames(packmap: PackMap, wanted: Sequence[int] | bytearray) -> list[Frame]:
    """Frames that hold something of a content whose flag in `wanted` (one per content) is set.

    Raises LimitExceeded for frames that are longer than their content can be: a reader would hold them in memory.
    """
    found = [
        frame
        for frame in packmap.frames
        if any(member.content != FOREIGN and wanted[member.content] for member in frame.members)
    ]
    for frame in found:
        limit = frame.raw_size + frame.raw_size // 100 + FRAME_OVERHEAD
        if frame.size > limit:
            raise LimitExceeded("a frame is longer than its content can need", size=frame.size, limit=limit)
    return found


def plan_ranges(frames: Iterable[Frame], *, cost: int = REQUEST_COST) -> RangePlan:
    """Merge neighbours. `frames` are sorted by pack and offset, as the map has them."""
    frames = list(frames)
    needed = sum(frame.size for frame in frames)
    plan = _merge(frames, cost, needed)
    while plan.requests > MANY:
        wider = _merge(frames, cost * 2, needed)
        if wider.total - needed > needed * WASTE_SHARE or cost > MAX_COST:
            break
        plan, cost = wider, cost * 2
    return plan


def _merge(frames: list[Frame], cost: int, needed: int) -> RangePlan:
    jobs: list[PackJob] = []
    ranges: list[FetchRange] = []
    run: list[Frame] = []
    for frame in frames:
        if run and (frame.pack != run[-1].pack or frame.offset - _end(run) > cost):
            ranges.append(_range(run))
            if frame.pack != run[-1].pack:
                jobs.append(PackJob(run[-1].pack, tuple(ranges)))
                ranges = []
            run = []
        run.append(frame)
    if run:
        jobs.append(PackJob(run[-1].pack, (*ranges, _range(run))))
    every = [one for job in jobs for one in job.ranges]
    return RangePlan(tuple(jobs), needed, sum(one.span.length for one in every), len(every))


def _range(run: list[Frame]) -> FetchRange:
    return FetchRange(Span(run[0].offset, _end(run) - run[0].offset), tuple(run))


def _end(run: list[Frame]) -> int:
    return run[-1].offset + run[-1].size
