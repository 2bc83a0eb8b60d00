"""`smidgen bench apply`: what it counts, and that a wrong result is no measurement."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from smidgen_benchmarks.apply import PROFILES, measure, table
from smidgen_benchmarks.apply_once import apply_once
from smidgen_benchmarks.corpora import Pair
from smidgen_client.cli import run
from support.device_trees import noise


def tar_at(path: Path, body: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in (("plain", body), ("packed.xz", lzma.compress(body, check=lzma.CHECK_CRC32))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    body = noise("body", 200_000)
    new = body[:1000] + b"more" + body[1000:]
    return Pair("small", "tar", tar_at(tmp_path / "old.tar", body), tar_at(tmp_path / "new.tar", new))


def test_a_row_for_each_profile(pair: Pair, tmp_path: Path) -> None:
    rows = list(measure(pair, ("fast",), (1,), tmp_path / "work", lambda _: None))
    assert [row.what for row in rows] == list(PROFILES)
    assert all(row.best.output == pair.new.stat().st_size for row in rows)
    assert all(0 < row.best.idle <= row.best.peak for row in rows)
    assert rows[0].beside_encoders is None
    assert len(table(rows).splitlines()) == 3
    assert not list((tmp_path / "work").iterdir())


def test_encoders_are_counted_by_themselves(pair: Pair, tmp_path: Path) -> None:
    delta = tmp_path / "delta"
    assert run(["delta", "make", str(pair.old), str(pair.new), "-o", str(delta)]) == 0
    found = apply_once(delta, pair.old, tmp_path / "out", 1)
    assert (tmp_path / "out").read_bytes() == pair.new.read_bytes()
    assert 0 < found.encoding < found.cpu
    assert 0 < found.opening < found.cpu
