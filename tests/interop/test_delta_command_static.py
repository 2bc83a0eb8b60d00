"""`smidgen delta` on static deltas: stock ostree takes what it makes, it takes what stock ostree makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.delta_desk import Desk
from support.ostree import ostree
from support.static_deltas import Commits, committed, holding

pytestmark = pytest.mark.needs("ostree")


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> Commits:
    return committed(tmp_path_factory.mktemp("commits"))


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


@pytest.mark.parametrize("scratch", [False, True])
def test_stock_applies_what_is_made(desk: Desk, commits: Commits, tmp_path: Path, scratch: bool) -> None:  # noqa: FBT001
    origin, old, new = commits
    delta = tmp_path / "delta"
    source = "empty" if scratch else f"ostree:{origin}@{old.hex()}"
    made = desk.facts("make", "--format", "ostree", source, f"ostree:{origin}@os", "-o", delta)
    assert made["size"] <= delta.stat().st_size
    device = holding(tmp_path, origin, None if scratch else old)
    ostree(device, "static-delta", "apply-offline", str(delta))
    ostree(device, "fsck")
    shown = desk.facts("show", delta)
    assert (shown["format"], shown["source"], shown["target"]) == ("ostree", None if scratch else old.hex(), new.hex())
    assert new.hex() in desk.type_in("show", delta)[1]


def test_a_published_delta_is_listed_and_replaced(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    ostree(origin, "init", "--mode=archive")
    ostree(origin, "pull-local", "--depth=1", str(commits[0]), "os")
    for _ in range(2):
        desk.facts("make", "--format=ostree", f"ostree:{origin}@os^", f"ostree:{origin}@os", "-o", f"ostree:{origin}")
        listed = ostree(origin, "static-delta", "list").split()
        assert listed == [f"{commits[1].hex()}-{commits[2].hex()}"]
    assert list((origin / "tmp").glob("delta-*")) == []


def test_stock_deltas_are_applied(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin, old, new = commits
    delta = tmp_path / "delta"
    words = [
        "static-delta",
        "generate",
        f"--from={old.hex()}",
        f"--to={new.hex()}",
        "--min-fallback-size=0",
        "--inline",
    ]
    ostree(origin, *words, "--min-fallback-size=0", f"--filename={delta}")
    device = holding(tmp_path, origin, old)
    assert desk.facts("apply", delta, "--from", f"ostree:{device}", "-o", f"ostree:{device}")["commit"] == new.hex()
    ostree(device, "fsck")


def test_what_is_wrong_is_said(desk: Desk, commits: Commits, tmp_path: Path) -> None:
    origin, old, _ = commits
    delta = tmp_path / "delta"
    desk.facts("make", "--format", "ostree", f"ostree:{origin}@{old.hex()}", f"ostree:{origin}@os", "-o", delta)
    empty = holding(tmp_path, origin, None)
    repo = f"ostree:{empty}"
    status, said = desk.type_in("apply", delta, "--from", repo, "-o", repo)
    assert status == 30 and old.hex() in said, said
    assert desk.type_in("apply", delta, "--from", "a", "-o", "b")[0] == 2
    assert desk.type_in("apply", delta, "--from", empty, "-o", empty)[0] == 2
    assert desk.type_in("make", "--format", "ostree", "a", f"ostree:{origin}@os", "-o", delta)[0] == 2
    damaged = bytearray(delta.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    delta.write_bytes(damaged)
    other = tmp_path / "other"
    other.mkdir()
    repo = f"ostree:{holding(other, origin, old)}"
    assert desk.type_in("apply", delta, "--from", repo, "-o", repo)[0] in (10, 20)
