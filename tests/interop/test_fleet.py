"""Many devices of several versions update at once through nginx: a smaller `smidgen bench fleet`."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_benchmarks import fleet
from support.releases import release

pytestmark = pytest.mark.needs("nginx")


def test_a_fleet_of_five_versions_updates_through_a_cache(tmp_path: Path) -> None:
    releases = [release(tmp_path / f"release{version}", version) for version in range(1, 7)]
    result = fleet.measure(releases, 20, tmp_path / "fleet", print, jobs=2, effort="fast")
    assert result.verified == result.devices == 20
    assert result.repeated == 0
    assert result.ways == {"delta": 20}
    assert result.origin_bytes < result.sent_bytes / 2
    assert result.server_peak < 400 << 20
