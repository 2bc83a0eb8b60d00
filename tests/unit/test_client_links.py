"""What a pull knows of its link: measured on what it fetched, remembered for the next one, never believed blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_client.plan.costs import Bill, Link, Prices
from smidgen_client.transport import link as measured
from smidgen_client.transport.known_links import MAX_AGE, MAX_SERVERS, KnownLinks

SERVER = "http://server"
NOW = 1_700_000_000


@pytest.fixture
def known(tmp_path: Path) -> KnownLinks:
    return KnownLinks(tmp_path / "links.json")


def test_little_says_nothing_about_bandwidth() -> None:
    link = measured.Link()
    link.carried(measured.ENOUGH - 1, 1.0)
    assert link.bandwidth == 0
    link.carried(1, 1.0)
    assert link.bandwidth == measured.ENOUGH / 2


def test_a_moment_is_no_reason_to_doubt_what_was_known() -> None:
    link = measured.Link()
    link.carried(measured.ENOUGH, measured.BRIEF / 2)
    assert link.brief
    link.carried(measured.ENOUGH, measured.BRIEF)
    assert not link.brief


def test_latency_is_the_smallest_seen() -> None:
    link = measured.Link()
    for seconds in (0.3, 0.1, 0.2):
        link.answered(seconds)
    assert link.latency == 0.1


def test_a_link_is_remembered_per_server(known: KnownLinks) -> None:
    known.keep(SERVER, Link(1e6, 0.05), NOW)
    known.keep("http://other", Link(5e6, 0.01), NOW)
    assert known.find(SERVER, NOW + 60) == Link(1e6, 0.05)
    assert not known.find("http://third", NOW).known


def test_old_and_future_knowledge_is_ignored(known: KnownLinks) -> None:
    known.keep(SERVER, Link(1e6, 0.05), NOW)
    assert not known.find(SERVER, NOW + MAX_AGE + 1).known
    assert not known.find(SERVER, NOW - 1).known


@pytest.mark.parametrize("text", ["", "{", "[]", '{"http://server": [1]}', '{"http://server": ["x", 1, 2]}'])
def test_a_damaged_cache_is_none(known: KnownLinks, text: str) -> None:
    known.path.write_text(text)
    assert not known.find(SERVER, NOW).known
    known.keep(SERVER, Link(1e6, 0.05), NOW)
    assert known.find(SERVER, NOW).known


@pytest.mark.parametrize("bandwidth", [-1.0, 0.0, 1e300, float("inf"), float("nan")])
def test_no_absurd_speed_is_believed(known: KnownLinks, bandwidth: float) -> None:
    known.keep(SERVER, Link(bandwidth, 0.05), NOW)
    assert not known.find(SERVER, NOW).known


def test_the_cache_is_bounded(known: KnownLinks) -> None:
    for number in range(MAX_SERVERS + 5):
        known.keep(f"http://server{number}", Link(1e6, 0.05), NOW)
    assert not known.find("http://server0", NOW).known
    assert known.find(f"http://server{MAX_SERVERS + 4}", NOW).known


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    KnownLinks(tmp_path / "missing" / "links.json").keep(SERVER, Link(1e6, 0.05), NOW)


def test_prices_are_seconds_or_bytes() -> None:
    bill = Bill(2_000_000, 3, 1.0)
    assert Prices.least_time(Link(1e6, 0.1), 2).of(bill) == pytest.approx(2.8)
    assert Prices.fewest_bytes(1000).of(bill) == 2_003_000
