"""`smidgen delta show`: every file of a delta, what it costs, how it is made and why; with and without names."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from support.delta_desk import Desk
from support.device_trees import noise

BODY = noise("body", 40_000)
TEXT = b"".join(b"line %d of a text that is packed\n" % number for number in range(4000))


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "same").write_bytes(noise("same", 5000))
    (old / "program-1.0").write_bytes(BODY)
    (new / "program-1.1").write_bytes(BODY[:20_000] + noise("fix", 100) + BODY[20_000:])
    (old / "log.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    (new / "log.gz").write_bytes(gzip.compress(TEXT + b"and one more\n", mtime=0))
    (new / "fresh").write_bytes(noise("fresh", 3000))
    return old, new


def test_every_file_has_a_method_sources_bytes_and_a_reason(
    desk: Desk, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = folders
    delta = tmp_path / "delta"
    desk.facts("make", old, new, "-o", delta)
    shown = desk.facts("show", delta, "--from", old)
    files = {one["path"]: one for one in shown["files"]}
    assert files.keys() == {"(tree document)", "program-1.1", "log.gz", "fresh"}
    assert (files["program-1.1"]["method"], files["program-1.1"]["sources"]) == ("patch", ["program-1.0"])
    assert files["program-1.1"]["bytes"] < 400
    assert (files["log.gz"]["method"], files["log.gz"]["sources"]) == ("gzip", ["log.gz, inside its gzip"])
    assert (files["fresh"]["method"], files["fresh"]["sources"]) == ("whole", [])
    assert 2900 < files["fresh"]["bytes"] < 3200
    assert all(one["why"] for one in files.values())
    assert sum(one["bytes"] for one in files.values()) < delta.stat().st_size
    told = desk.type_in("show", delta, "--from", old)[1]
    assert "program-1.1  program-1.0  cheapest from the file that resembles it" in told


def test_without_the_old_files_contents_have_numbers(desk: Desk, folders: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = folders
    delta = tmp_path / "delta"
    desk.facts("make", old, new, "-o", delta)
    named = desk.facts("show", delta, "--from", old)["files"]
    bare = desk.facts("show", delta)["files"]
    assert [one["bytes"] for one in bare] == [one["bytes"] for one in named]
    assert {one["path"].partition(" ")[0] for one in bare} == {"(tree", "content"}


def test_a_file_of_its_own(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    (tmp_path / "b").write_bytes(BODY + b"!")
    desk.facts("make", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "delta")
    (line,) = desk.facts("show", tmp_path / "delta")["files"]
    assert (line["path"], line["sources"], line["size"]) == ("(the file)", ["old file 1"], 40_001)


def test_a_damaged_frame_is_refused(desk: Desk, folders: tuple[Path, Path], tmp_path: Path) -> None:
    delta = tmp_path / "delta"
    desk.facts("make", *folders, "-o", delta)
    data = delta.read_bytes()
    delta.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    status, said = desk.type_in("show", delta)
    assert status == 20 and "delta frame is damaged" in said
    assert desk.type_in("show", tmp_path / "old", "--from", tmp_path / "old")[0] != 0
