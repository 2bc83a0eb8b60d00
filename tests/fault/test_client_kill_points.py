"""A pull is killed (-9) right before each change that it makes on the disk, and in the middle of each write.

Whatever the moment: what a user sees is the release before or the new one, whole and right, the store passes its own
check and stock `ostree fsck`, and the next pull completes the update without fetching again what lay there verified.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.kill_points import KILLED, POINTS, points
from support.update_scene import FRAME, KINDS, Scene, scene

WAYS = {"packs": (False, False), "delta": (True, False), "first": (False, True)}
LEAST = {"packs": 180, "delta": 180, "first": 100}  # points
METADATA = 10_000  # documents that each pull reads: ref, tree, pack map or header of the delta
LAST_FILE = 45_000  # a frame of a pack ends with the file that makes it full


@pytest.mark.needs("ostree")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_anywhere_the_update_completes(
    tmp_path: Path, kind: str, way: str, record_property: Callable[[str, object], None]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        tried = sum(threads.map(lambda part: kill_at_each_point(tmp_path / str(part), kind, way, part), range(2)))
    record_property(POINTS, tried)
    assert tried > LEAST[way]


def kill_at_each_point(folder: Path, kind: str, way: str, part: int) -> int:
    """Every second point, from `part` on; of first pulls every sixth, as they repeat themselves most."""
    delta, first = WAYS[way]
    with scene(folder, kind, delta=delta, first=first) as here:
        trace = folder / "trace"
        whole = here.pull(trace=trace)
        assert whole.status == 0, whole.output
        fetched = int(str(whole.result["bytes_fetched"]))
        mine = points(whole, trace)[part :: 6 if first else 2]
        for number, torn in mine:
            kill_at(here, number, fetched, torn=torn)
    return len(mine)


def kill_at(here: Scene, number: int, fetched: int, *, torn: bool) -> None:
    here.reset()
    killed = here.pull(kill=number, torn=torn)
    where = f"killed at change {number}{' in the middle' * torn}"
    # threads may end a run a change or two earlier than the run that was counted
    assert killed.status == KILLED or killed.changes < number, (where, killed.output)
    check_store(here, where)
    held = here.verified_share()
    done = here.pull()
    assert done.status == 0, (where, done.output)
    assert int(str(done.result["bytes_fetched"])) <= fetched * (1 - held) + FRAME + LAST_FILE + METADATA, where
    assert here.release() == 2, where
    check_with_ostree(here, where)


def check_store(here: Scene, where: str) -> None:
    """The store is sound, and what a user sees is a whole release."""
    seen = here.release()
    assert seen in (here.before, 2), (where, "the release before is gone")
    if seen:
        verified = here.verify()
        assert verified.status == 0, (where, verified.output)
    check_with_ostree(here, where)


def check_with_ostree(here: Scene, where: str) -> None:
    repository = here.root / "repo"
    if (repository / "config").exists():
        fsck = subprocess.run(["ostree", "fsck", "--quiet", f"--repo={repository}"], capture_output=True, text=True)
        assert fsck.returncode == 0, (where, fsck.stderr)
