"""The planner: tables of facts -> choice, and the reason that is told for what was not chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smidgen_client.plan.beginning import delta_first, map_may_help
from smidgen_client.plan.costs import Bill, Link, Prices
from smidgen_client.plan.layers import LayerNeed, choose_layers
from smidgen_client.plan.ways import FAST, Limits, NoWay, Situation, Way, choose
from smidgen_deltas.digest import Digest
from smidgen_deltas.native.packmap import Frame, Member, PackMap, PackRef

MB = 1_000_000
MBIT = 1e6 / 8

DELTA = Way("delta", "delta", Bill(8 * MB, 1, 20.0), memory=60 * MB, scratch=10 * MB, cpu=2)
LIGHT = Way("delta", "light delta", Bill(14 * MB, 1, 2.0), memory=20 * MB, cpu=0)
PACKS = Way("packs", "packs", Bill(60 * MB, 12, 3.0))
WHOLE = Way("whole", "whole layers", Bill(280 * MB, 1, 0.6))
WAYS = (DELTA, LIGHT, PACKS, WHOLE)


def situation(mbit: float, prefer: str = "auto", *, ms: float = 20, cores: int = 2, **limits: int) -> Situation:
    return Situation(Link(mbit * MBIT, ms / 1000), cores, prefer, Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mbit", "prefer", "chosen"),
    [
        (0, "auto", "delta"),  # nothing is known of the link: fewest bytes
        (0, "time", "delta"),
        (1, "auto", "delta"),
        (1, "time", "delta"),
        (10, "auto", "light delta"),  # 5 s more to fetch, 9 s less to work
        (10, "bytes", "delta"),
        (90, "time", "light delta"),
        (300, "auto", "light delta"),
        (1_000, "auto", "light delta"),
        (4_000, "auto", "whole layers"),
        (4_000, "time", "whole layers"),
        (4_000, "bytes", "delta"),
    ],
)
def test_link_and_wish_decide(mbit: float, prefer: str, chosen: str) -> None:
    plan = choose(WAYS, situation(mbit, prefer))
    assert plan.best.name == chosen
    assert [one.why_not == "" for one in plan.considered] == [one.name == chosen for one in plan.considered]


def test_below_a_fast_link_auto_never_fetches_much_more_than_needed() -> None:
    slow = situation(99)
    assert slow.link.bandwidth < FAST
    ways = (replace(DELTA, bill=Bill(8 * MB, 1, 60.0)), PACKS)
    plan = choose(ways, slow)
    assert plan.best.kind == "delta"
    assert "not fast enough" in plan.considered[1].why_not
    assert choose(ways, situation(99, "time")).best.kind == "packs"
    assert choose(ways, situation(101)).best.kind == "packs"


@pytest.mark.parametrize(
    ("limits", "chosen", "reason"),
    [
        ({"memory": 50 * MB}, "light delta", "60,000,000 bytes of memory, 50,000,000 are allowed"),
        ({"scratch": 5 * MB}, "light delta", "bytes of scratch space"),
        ({"cpu": 1}, "light delta", "as class of work"),
        ({"cpu": 1, "memory": 10 * MB}, "packs", "; "),
        ({"bytes": 10 * MB}, "delta", ""),
    ],
)
def test_the_devices_limits_hold(limits: dict[str, int], chosen: str, reason: str) -> None:
    plan = choose(WAYS, situation(1, **limits))
    assert plan.best.name == chosen
    assert reason in plan.considered[0].why_not


def test_when_nothing_fits_all_reasons_are_told() -> None:
    with pytest.raises(NoWay) as caught:
        choose(WAYS, situation(1, bytes=1 * MB))
    assert len(caught.value.detail["reasons"]) == 4  # type: ignore[arg-type]
    assert caught.value.exit == 41


def test_what_cannot_be_used_is_kept_with_its_reason() -> None:
    plan = choose((replace(DELTA, unfit="3 of its files are not here any more"), PACKS), situation(1))
    assert plan.best.kind == "packs"
    assert plan.considered[0].why_not == "3 of its files are not here any more"
    assert plan.order == (1,)


def test_ways_that_fit_are_in_order_of_preference() -> None:
    assert [WAYS[at].name for at in choose(WAYS, situation(1)).order] == [
        "delta",
        "light delta",
        "packs",
        "whole layers",
    ]


def test_seconds_are_those_of_the_formula() -> None:
    plan = choose((PACKS,), situation(8, ms=100, cores=2))
    assert plan.best.seconds == pytest.approx(60.0 + 12 * 0.1 + 1.5)
    assert choose((PACKS,), situation(0)).best.seconds == 0


@pytest.mark.parametrize(
    ("mbit", "prefer", "metadata", "first"),
    [
        (0, "auto", 1 * MB, True),  # the delta's beginning measures the link
        (10, "auto", 1 * MB, True),
        (1_000, "auto", 1 * MB, False),
        (1_000, "bytes", 1 * MB, True),
        (10, "time", 1 * MB, False),
        (10, "time", 20 * MB, True),  # reading tree and map would cost more than a fifth of the delta
    ],
)
def test_what_is_read_first(mbit: float, prefer: str, metadata: int, first: bool) -> None:  # noqa: FBT001 - a table
    assert delta_first(situation(mbit, prefer), DELTA.bill, metadata) is first


@pytest.mark.parametrize(
    ("mbit", "prefer", "spare", "helps"),
    [
        (0, "auto", False, False),
        (10, "auto", False, False),
        (1_000, "auto", False, True),
        (1_000, "bytes", False, False),
        (0, "bytes", True, True),  # part of what it brings is here already: packs may be fewer bytes
    ],
)
def test_when_the_map_is_worth_reading(mbit: float, prefer: str, spare: bool, helps: bool) -> None:  # noqa: FBT001
    assert map_may_help(situation(mbit, prefer), DELTA.bill, MB, 3.0, spare=spare) is helps


CONTENTS = 10
FRAMES = tuple(Frame(0, at * MB, MB, 2 * MB, b"", (Member(at, 0, 2 * MB),)) for at in range(CONTENTS))
PACKED = PackMap((PackRef(Digest.of(b"pack"), CONTENTS * MB),), FRAMES)
NEED = LayerNeed(frozenset(range(CONTENTS)), whole=12 * MB, tar=20 * MB, plain=False, recompress=False)
BYTES = Prices.fewest_bytes(64 << 10)
QUICK = Prices.least_time(Link(1e9 / 8, 0.001), 2)


@pytest.mark.parametrize(
    ("remote", "mode", "prices", "how"),
    [
        (CONTENTS, "auto", BYTES, "tar"),  # 10 MB of frames, 12 MB whole
        (CONTENTS, "auto", QUICK, "whole"),  # 2 MB more cost 16 ms, unpacking and building more
        (CONTENTS, "tar", QUICK, "tar"),
        (2, "auto", Prices.least_time(Link(1e7 / 8, 0.001), 2), "tar"),
        (2, "exact", BYTES, "whole"),
        (0, "auto", BYTES, "tar"),
    ],
)
def test_a_layer_comes_whole_where_that_is_cheaper(remote: int, mode: str, prices: Prices, how: str) -> None:
    flags = bytearray(at < remote for at in range(CONTENTS))
    assert choose_layers([NEED], PACKED, flags, mode, prices) == [how]  # type: ignore[arg-type]
