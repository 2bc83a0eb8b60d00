"""What a device has when no limit is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_client.memory import available


def test_available_memory_is_a_part_of_all() -> None:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    found = available()
    assert found is not None
    assert 0 < found <= int(lines["MemTotal"].split()[0]) * 1024


@pytest.mark.parametrize("text", ["", "MemTotal: 12 kB\n", "MemAvailable:\n", "MemAvailable: lots kB\n"])
def test_a_system_that_does_not_say_sets_no_limit(tmp_path: Path, text: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert available(tmp_path / "meminfo") is None


def test_without_the_file_there_is_no_limit(tmp_path: Path) -> None:
    assert available(tmp_path / "nothing") is None


def test_kilobytes_become_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:   200 kB\nMemAvailable:    100 kB\n")
    assert available(tmp_path / "meminfo") == 102_400
