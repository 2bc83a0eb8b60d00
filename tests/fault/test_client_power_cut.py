"""The power goes during a pull: whatever the disk kept of what was not synced, no promise is broken.

A pull is recorded change by change, and the model of support/power_cut.py makes the folders that a cut may leave before
and after each sync and rename: only what was synced, names without their bytes, and mixtures by chance. From each of
them the update completes; and once a pull has said that it is done, the release is there whatever the disk dropped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.kill_points import POINTS
from support.power_cut import Choose, Disk, mixed, names_first, only_synced, read_trace, sync_points, write_out
from support.update_scene import KINDS, Scene, scene


@pytest.mark.parametrize("delta", [False, True], ids=["packs", "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_power_cut_the_update_completes(
    tmp_path: Path,
    kind: str,
    delta: bool,  # noqa: FBT001
    record_property: Callable[[str, object], None],
) -> None:
    with ThreadPoolExecutor(2) as threads:
        tried = sum(
            threads.map(lambda part: cut_at_each_point(tmp_path / str(part), kind, part, delta=delta), range(2))
        )
    record_property(POINTS, tried)
    assert tried > 90


def cut_at_each_point(folder: Path, kind: str, part: int, *, delta: bool) -> int:
    """Every second state, from `part` on."""
    with scene(folder, kind, delta=delta) as here:
        here.reset()
        disk, trace = Disk(here.root), folder / "trace"
        done = here.pull(trace=trace)
        assert done.status == 0, done.output
        changes = read_trace(trace)
        points = set(sync_points(changes))
        number = 0
        for at in range(len(changes) + 1):
            if at in points:
                for choose in (only_synced(), names_first(), mixed(at)):
                    number += 1
                    if number % 2 == part:
                        cut(here, disk, choose, f"{at} of {len(changes)}", last=at == len(changes))
            if at < len(changes):
                disk.apply(changes[at])
    return number // 2


def cut(here: Scene, disk: Disk, choose: Choose, where: str, *, last: bool) -> None:
    shutil.rmtree(here.root)
    write_out(disk, here.root, choose)
    here.zygote.reboot()
    seen = here.release()
    assert seen == 2 if last else seen in (1, 2), where
    done = here.pull()
    assert done.status == 0, (where, done.output)
    assert here.release() == 2, where
    assert here.verify().status == 0, where
