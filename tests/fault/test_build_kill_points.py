"""The process that makes a delta is killed (-9) right before each change that it makes on the disk, and in the middle.

Whatever the moment: each blob in the store is whole, and the next build makes the same delta and leaves nothing else.
"""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.blobs.local import LocalStore
from smidgen_server.services.container import open_services
from smidgen_server.services.delta_worker import Order
from smidgen_server.settings import Settings
from support.device_trees import noise
from support.kill_points import KILLED, POINTS, Run, points, start_zygote
from support.releases import rows
from support.small_images import publish_files

LEAST = {"smidgen": 55, "tardiff": 38}  # points


@pytest.mark.parametrize("delta", LEAST)
def test_killed_anywhere_the_next_build_makes_the_same_delta(
    tmp_path: Path, delta: str, record_property: Callable[[str, object], None]
) -> None:
    orders = [wanted(tmp_path / str(part), delta) for part in range(2)]
    with ThreadPoolExecutor(2) as threads:
        tried = sum(threads.map(lambda part: kill_at_each_point(tmp_path / str(part), orders[part], part), range(2)))
    record_property(POINTS, tried)
    assert tried > LEAST[delta]


def kill_at_each_point(folder: Path, order: str, part: int) -> int:
    """Every second point, from `part` on."""
    data, saved, work = folder / "data", folder / "saved", folder / "work"
    work.mkdir()
    shutil.copytree(data, saved)
    with start_zygote(data, work, "support.zygote_builder") as zygote:
        trace = work / "trace"
        whole = zygote.run(order, trace=trace)
        made, blobs = outcome(whole), contents(data)
        mine = points(whole, trace)[part::2]
        for number, torn in mine:
            where = f"killed at change {number}{' in the middle' * torn}"
            shutil.rmtree(data)
            shutil.copytree(saved, data)
            killed = zygote.run(order, kill=number, torn=torn)
            assert killed.status == KILLED or killed.changes < number, (where, killed.output)
            assert contents(data) <= blobs, where
            assert outcome(zygote.run(order)) == made, where
            assert contents(data) == blobs, where
    return len(mine)


def wanted(folder: Path, delta: str) -> str:
    """The order for a delta that the data directory in `folder`, which is made, wants."""
    deltas = {"formats": (delta,), "effort": "fast", "workers": 1}
    settings = Settings.model_validate({"data": folder / "data", "deltas": deltas})
    with open_services(settings) as services:
        for version in (1, 2):
            publish_files(services, folder, files(version))
        (row,) = rows(services.index)
    order = Order(settings.model_dump(mode="json"), row.id, "", row.sources, row.target_id, row.format, 1.0)
    return json.dumps(asdict(order))


def files(version: int) -> dict[str, bytes]:
    """One with something inside, whose recipe is kept."""
    program = noise("program", 60_000) + noise(f"code {version}", 2000)
    packed = lzma.compress(b"".join(b"%d of %d\n" % (line, version) for line in range(3000)))
    return {"usr/bin/program": program, "usr/share/doc.xz": packed, "usr/share/fixed": noise("fixed", 20_000)}


def outcome(run: Run) -> dict[str, object]:
    assert run.status == 0, run.output
    assert run.result.get("files"), run.output
    return run.result


def contents(data: Path) -> set[Digest]:
    """The blobs in the store, each of which is whole."""
    store = LocalStore(data / "blobs")
    found = set(store.digests())
    for digest in found:
        with store.open(digest) as blocks:
            assert Digest.of(b"".join(blocks)) == digest
    return found
