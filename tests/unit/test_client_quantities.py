"""Sizes and speeds as people write them, in options and in the environment."""

from __future__ import annotations

import pytest

from smidgen_client.quantities import parse_size, parse_speed
from smidgen_client.settings import read_environment
from smidgen_deltas.errors import SettingsError, UsageError


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("10Mbit", 1.25e6),
        ("1.5Gbit/s", 187.5e6),
        ("250kB", 250e3),
        ("64kbps", None),
        ("8bit", 1.0),
        ("100Mbits", 12.5e6),
    ],
)
def test_speeds(text: str, speed: float | None) -> None:
    if speed is None:
        with pytest.raises(UsageError):
            parse_speed(text)
    else:
        assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "0Mbit", "fast", "10", "-1Mbit", "1e9bit", "10Mbit!"])
def test_what_is_no_speed(text: str) -> None:
    with pytest.raises(UsageError):
        parse_speed(text)


def test_sizes() -> None:
    assert (parse_size("500"), parse_size("10MB"), parse_size("1.5GiB")) == (500, 10_000_000, 3 << 29)


def test_the_environment_sets_what_a_device_allows() -> None:
    found = read_environment({"SMIDGEN_LINK": "8Mbit", "SMIDGEN_MAX_MEMORY": "64MiB", "SMIDGEN_PREFER": "time"})
    assert (found.link, found.max_memory, found.max_scratch, found.prefer) == (1e6, 64 << 20, None, "time")


@pytest.mark.parametrize(
    ("name", "value"), [("SMIDGEN_PREFER", "speed"), ("SMIDGEN_LINK", "10"), ("SMIDGEN_MAX_SCRATCH", "x")]
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_environment({name: value})
