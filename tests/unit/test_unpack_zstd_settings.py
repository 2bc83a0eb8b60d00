"""Which settings of libzstd are tried for a frame: all that can have made it, and none that cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smidgen_deltas.engine.unpackers.zstd import Header, ZstdSetting, candidates, read_header
from smidgen_deltas.engine.unpackers.zstd_library import BundledLibrary

SIZES = (1 << 18, (1 << 18) + 1, (1 << 21) + 1, (4 << 20) + 1)


@pytest.mark.parametrize("level", [-3, 1, 3, 9, 15])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sized", [True, False])
def test_the_setting_that_made_a_frame_is_tried(level: int, size: int, *, sized: bool) -> None:
    library = BundledLibrary()
    setting = ZstdSetting(level, threaded=True, checksum=True, sized=sized, window_log=0, long_distance=False)
    encoder = setting.encoder(library, size)
    header = read_header(memoryview(encoder.feed(memoryview(b"front of it")) + encoder.flush()))
    assert header is not None
    assert replace(setting, threaded=False) in list(candidates(library, header))


def test_a_long_window_is_not_tried_where_the_header_names_a_short_one() -> None:
    header = Header(checksum=True, size=130_524_672, window_log=22)
    found = list(candidates(BundledLibrary(), header))
    assert 9 in {setting.level for setting in found}
    assert 22 not in {setting.level for setting in found}
    assert not any(setting.long_distance for setting in found)


def test_what_one_segment_holds_is_tried_with_windows_that_hold_it() -> None:
    header = Header(checksum=False, size=100 << 20, window_log=0)
    found = list(candidates(BundledLibrary(), header))
    assert {setting.level for setting in found if not setting.long_distance} == {22}
    assert any(setting.long_distance for setting in found)
