"""`smidgen delta` on tar-diffs: another reader takes what it makes, it takes what stock tar-diff made."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.layout import Layout
from support import tardiff_reader
from support.delta_desk import Desk

STOCK = Path(__file__).parents[1] / "golden" / "tardiff"
OLD, NEW = STOCK / "old.tar", STOCK / "new.tar"


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path / "old", filter="tar")
    return tmp_path / "old"


def test_another_reader_applies_what_is_made(desk: Desk, tmp_path: Path, extracted: Path) -> None:
    packed = tmp_path / "old.tar.gz"
    packed.write_bytes(gzip.compress(OLD.read_bytes()))
    delta = tmp_path / "delta"
    made = desk.facts("make", "--format", "tardiff", packed, NEW, "-o", delta)
    assert (made["size"], made["output"]) == (delta.stat().st_size, NEW.stat().st_size)
    files = {str(path.relative_to(extracted)): path.read_bytes() for path in extracted.rglob("*") if path.is_file()}
    assert tardiff_reader.rebuild(delta.read_bytes(), files) == NEW.read_bytes()


def test_a_stock_delta_is_applied_and_shown(desk: Desk, tmp_path: Path, extracted: Path) -> None:
    for old in (OLD, extracted):
        out = tmp_path / "out.tar"
        desk.facts("apply", STOCK / "stock.tardiff", "--from", old, "-o", out)
        assert out.read_bytes() == NEW.read_bytes()
        out.unlink()
    shown = desk.facts("show", STOCK / "stock.tardiff")
    assert (shown["format"], shown["version"]) == ("tardiff", 1)
    assert shown["sources"] and shown["copied"] + shown["added"] + shown["literal"] == NEW.stat().st_size


def test_the_tar_becomes_a_folder_or_a_blob(desk: Desk, tmp_path: Path) -> None:
    delta, old = STOCK / "stock.tardiff", OLD
    digest = Digest.of(NEW.read_bytes())
    folder, layout = tmp_path / "folder", tmp_path / "layout"
    done = desk.facts("apply", delta, "--from", old, "-o", f"folder:{folder}", "--expect", digest)
    assert (done["size"], done["digest"]) == (NEW.stat().st_size, str(digest))
    with tarfile.open(NEW) as archive:
        for info in archive:
            path = folder / info.name
            if info.isfile():
                file = archive.extractfile(info)
                assert file is not None and path.read_bytes() == file.read()
            assert path.is_symlink() == info.issym() and (path.is_symlink() or path.exists())
    for _ in range(2):
        desk.facts("apply", delta, "--from", old, "-o", f"oci:{layout}")
    with Layout.open(layout).open_blob(digest) as reader:
        assert reader.read(1 << 20) == NEW.read_bytes()
    assert desk.type_in("apply", delta, "--from", old, "-o", f"folder:{folder}")[0] == 2
    wrong = Digest.of(b"")
    assert desk.type_in("apply", delta, "--from", old, "-o", tmp_path / "out", "--expect", wrong)[0] == 20
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "layout"}


def test_nothing_comes_of_a_wrong_one(desk: Desk, tmp_path: Path) -> None:
    delta, out = tmp_path / "delta", tmp_path / "out"
    data = bytearray((STOCK / "stock.tardiff").read_bytes())
    data[len(data) // 2] ^= 1
    delta.write_bytes(data)
    assert desk.type_in("apply", delta, "--from", OLD, "-o", out)[0] == 10
    (tmp_path / "empty").mkdir()
    assert desk.type_in("apply", STOCK / "stock.tardiff", "--from", tmp_path / "empty", "-o", out)[0] == 30
    assert desk.type_in("make", "--format=tardiff", delta, NEW, "-o", out)[0] == 2
    assert not out.exists()
