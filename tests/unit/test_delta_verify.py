"""`smidgen delta verify`: a delta by itself, or with the old files, without a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.delta_desk import Desk
from support.device_trees import noise

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


@pytest.fixture
def delta(desk: Desk, tmp_path: Path) -> Path:
    body = noise("body", 20_000)
    (tmp_path / "old").write_bytes(body)
    (tmp_path / "new").write_bytes(body[:9_000] + noise("more", 500) + body[9_000:])
    desk.facts("make", tmp_path / "old", tmp_path / "new", "-o", tmp_path / "delta")
    return tmp_path / "delta"


def test_a_good_one_is_right(desk: Desk, delta: Path) -> None:
    assert desk.facts("verify", delta)["checked"] == delta.stat().st_size
    assert desk.facts("verify", delta, "--from", delta.parent / "old")["checked"] == 20_500
    assert desk.type_in("verify", delta, "--from", delta.parent / "new")[0] == 30
    assert {path.name for path in delta.parent.iterdir()} == {"old", "new", "delta"}


def test_every_changed_or_missing_byte_is_found(desk: Desk, delta: Path) -> None:
    data = delta.read_bytes()
    for at in range(len(data)):
        delta.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert desk.type_in("verify", delta)[0] in (10, 11, 12, 20, 21), at
    for end in range(0, len(data), 7):
        delta.write_bytes(data[:end])
        assert desk.type_in("verify", delta)[0] in (10, 20, 21), end
    delta.write_bytes(data + b"x")
    assert desk.type_in("verify", delta)[0] == 10


def test_of_other_formats(desk: Desk, tmp_path: Path) -> None:
    stock = GOLDEN / "tardiff" / "stock.tardiff"
    assert desk.facts("verify", stock) == {"delta": str(stock), "format": "tardiff", "checked": stock.stat().st_size}
    assert desk.type_in("verify", stock, "--from", GOLDEN)[0] == 2
    (tmp_path / "cut").write_bytes(stock.read_bytes()[:-9])
    assert desk.type_in("verify", tmp_path / "cut")[0] == 10
