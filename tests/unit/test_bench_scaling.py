"""Samples of the scaling benchmark: the same files on both sides, each larger one containing the smaller."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import Usage
from smidgen_benchmarks.scaling import Row, exponents, sample
from smidgen_benchmarks.scaling_report import write


def _tar(path: Path, version: str) -> Path:
    with tarfile.open(path, "w") as out:
        for number in range(60):
            info = tarfile.TarInfo(f"lib/modules-{version}/file{'abcdefghij'[number % 10]}{'klmnop'[number // 10]}")
            info.size = 1000
            out.addfile(info, io.BytesIO(version.encode() * 200))
        link = tarfile.TarInfo("lib/link")
        link.type, link.linkname = tarfile.SYMTYPE, "modules"
        out.addfile(link)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair("some", "tar", _tar(tmp_path / "o.tar", "6.1.0"), _tar(tmp_path / "n.tar", "6.1.2"))


def _names(tar: Path) -> list[str]:
    with tarfile.open(tar) as found:
        return found.getnames()


def test_samples_are_alike_and_nested(pair: Pair, tmp_path: Path) -> None:
    old, new = tmp_path / "old.tar", tmp_path / "new.tar"
    assert sample([pair], 10_000, old, new)
    few = _names(new)
    assert len(few) == 10 and [name.replace("6.1.2", "6.1.0") for name in few] == _names(old)
    assert sample([pair], 20_000, old, new)
    assert len(_names(new)) == 20 and set(few) < set(_names(new))
    assert not sample([pair], 70_000, old, new)


def test_the_exponent_of_linear_and_of_square_cost() -> None:
    rows = [
        Row("trees", "fast", size, 1, Usage(0, size / 7, 0), Usage(0, size**2 / 9, 0)) for size in (50, 100, 400, 2000)
    ]
    assert exponents(rows) == {"fast": {"make": pytest.approx(1.0), "apply": pytest.approx(2.0)}}
    assert exponents(rows[:1]) == {}


def test_the_report_has_a_plot_and_the_digests_and_needs_nothing_else(tmp_path: Path) -> None:
    usage = [Usage(size, size / 3, 1 << 20) for size in (1, 2, 4)]
    rows = [Row("trees", "fast", size * 10**6, 9, used, used) for size, used in zip((50, 100, 200), usage, strict=True)]
    one = Row("one file", "fast", 2200 * 10**6, 9, usage[0], usage[0])
    data, shown = write(tmp_path / "report", [*rows, one], {"a <tree>": {"old": "c" * 64}})
    assert json.loads(data.read_text())["exponents"]["fast"]["make"] == pytest.approx(1.0)
    text = shown.read_text()
    assert text.count("<svg") == 1 and text.count("<circle") == 6
    assert "one file" in text and "a &lt;tree&gt;: old cccc" in text
    assert not any(word in text for word in ("http:", "https:", "<script", "<link", "src="))
