"""tar-diffs between us and others: what stock tar-diff made is read, what we make is applied by others.

The others are a second reader, written from the format alone, and stock tar-patch where it is on the PATH (no
distribution packages it). The frozen delta in tests/golden/tardiff is by stock tar-diff 0.1.2: `tar-diff old.tar
new.tar stock.tardiff`.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smidgen_deltas.digest import Digest
from smidgen_deltas.tardiff.apply import apply_delta
from smidgen_deltas.tardiff.make import make_delta
from smidgen_deltas.tardiff.old_files import Folder
from smidgen_deltas.tardiff.verify import prove, tar_files
from support import tardiff_reader
from support.elf_images import functions, grow, image
from support.tars import END, header, member

STOCK = Path(__file__).parents[1] / "golden" / "tardiff"
OLD = (STOCK / "old.tar").read_bytes()
NEW = (STOCK / "new.tar").read_bytes()


def extracted(tars: Sequence[bytes], folder: Path) -> Path:
    folder.mkdir()
    for tar in tars:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            archive.extractall(folder, filter="tar")
    return folder


def made(old: Sequence[bytes], new: bytes) -> bytes:
    file = io.BytesIO()
    with ThreadPoolExecutor(2) as executor:
        make_delta(old, new, file, executor)
    prove(file, old, new)
    return file.getvalue()


def rebuilt_by_others(delta: bytes, old: Sequence[bytes], tmp_path: Path) -> set[bytes]:
    folder = extracted(old, tmp_path / "old")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = {tardiff_reader.rebuild(delta, files)}
    if tar_patch := shutil.which("tar-patch"):
        (tmp_path / "delta").write_bytes(delta)
        subprocess.run([tar_patch, tmp_path / "delta", folder, tmp_path / "out.tar"], check=True)
        found.add((tmp_path / "out.tar").read_bytes())
    return found


def test_a_stock_delta_is_applied_to_a_folder(tmp_path: Path) -> None:
    out = io.BytesIO()
    with Folder(extracted([OLD], tmp_path / "old")) as folder, (STOCK / "stock.tardiff").open("rb") as delta:
        apply_delta(delta, folder.open, out, Digest.of(NEW))
    assert out.getvalue() == NEW


def test_a_stock_delta_is_applied_to_a_tar() -> None:
    out = io.BytesIO()
    with (STOCK / "stock.tardiff").open("rb") as delta:
        facts = apply_delta(delta, tar_files([OLD]), out, Digest.of(NEW))
    assert out.getvalue() == NEW
    assert (facts.size, facts.sources) == (len(NEW), 3)


def test_both_readers_understand_the_stock_delta_alike(tmp_path: Path) -> None:
    assert rebuilt_by_others((STOCK / "stock.tardiff").read_bytes(), [OLD], tmp_path) == {NEW}


def test_our_delta_is_applied_by_others_and_is_smaller_than_the_stock_one(tmp_path: Path) -> None:
    delta = made([OLD], NEW)
    assert rebuilt_by_others(delta, [OLD], tmp_path) == {NEW}
    assert len(delta) < (STOCK / "stock.tardiff").stat().st_size


def test_content_is_found_in_other_layers_under_other_names(tmp_path: Path) -> None:
    """Bodies from two layers, one of a renamed file with a change, one through a hard link; and a program."""
    chance = random.Random(3)
    first, second = chance.randbytes(9000), chance.randbytes(7000)
    made_of = functions(1, 80)
    program = image(made_of, "x86-64")
    updated = image(grow(made_of, 9, b"more code"), "x86-64")
    low = header(b"d/", 0, b"5", mode=0o755) + member(b"d/first", first) + member(b"d/over", b"x" * 99) + END
    high = member(b"d/second", second) + member(b"d/over", program) + END
    changed = bytearray(first[:5000] + b"inserted" + first[5000:])
    changed[77] ^= 255
    new = (
        header(b"e/", 0, b"5", mode=0o755)
        + member(b"e/renamed", bytes(changed))
        + member(b"e/both", first[:4000] + second[1000:] + bytes(300))
        + header(b"e/hard", 0, b"1", linkname=b"e/both")
        + member(b"e/over", updated)
        + member(b"e/empty")
        + END
    )
    delta = made([low, high], new)
    assert rebuilt_by_others(delta, [low, high], tmp_path) == {new}
    assert len(delta) < 1200


def test_from_nothing(tmp_path: Path) -> None:
    assert rebuilt_by_others(made([], NEW), [], tmp_path) == {NEW}
