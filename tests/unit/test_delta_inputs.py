"""What `smidgen delta` sees in a file: the same tar in any compression, bounds of a device, damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from smidgen_deltas import zstd
from support.delta_desk import Desk
from support.device_trees import noise

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


def tar(version: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("first", "second"):
            body = noise(name, 60_000) + noise(f"{name} {version}", 100)
            member = tarfile.TarInfo(f"usr/{name}-{version}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return file.getvalue()


@pytest.mark.parametrize("pack", PACKS)
def test_tars_are_compared_by_member(desk: Desk, tmp_path: Path, pack: str) -> None:
    old, new, delta, out = (tmp_path / name for name in ("old", "new", "delta", "out"))
    old.write_bytes(PACKS[pack](tar(1)))
    new.write_bytes(PACKS[pack](tar(2)))
    assert desk.facts("make", old, new, "-o", delta)["size"] < 1500
    desk.facts("apply", delta, "--from", old, "-o", out)
    assert out.read_bytes() == tar(2)


@pytest.mark.parametrize("pack", ["gzip", "zstd", "xz", "bz2"])
@pytest.mark.parametrize("kept", [20, 0.5, -3])
def test_damaged_ones_are_plain_files(desk: Desk, tmp_path: Path, pack: str, kept: float) -> None:
    old, new, delta, out = (tmp_path / name for name in ("old", "new", "delta", "out"))
    data = PACKS[pack](tar(1))
    old.write_bytes(b"something else")
    new.write_bytes(data[: int(kept * len(data)) if kept == 0.5 else int(kept)])
    desk.facts("make", old, new, "-o", delta)
    desk.facts("apply", delta, "--from", old, "-o", out)
    assert out.read_bytes() == new.read_bytes()


def test_a_profile_bounds_what_is_asked_of_the_device(desk: Desk, tmp_path: Path) -> None:
    old, new, delta = (tmp_path / name for name in ("old", "new", "delta"))
    text = b"".join(b"line %d\n" % number for number in range(60_000))
    old.write_bytes(gzip.compress(text, mtime=0))
    new.write_bytes(gzip.compress(text.replace(b"line 777\n", b"line seven\n"), mtime=0))
    sizes, transforms = {}, {}
    for profile in ("full", "small", "full,without=gzip"):
        sizes[profile] = desk.facts("make", old, new, "-o", delta, "--profile", profile)["size"]
        transforms[profile] = desk.facts("show", delta)["transforms"]
        desk.facts("apply", delta, "--from", old, "-o", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == new.read_bytes()
    assert sizes["full"] < sizes["small"] / 10 and sizes["full"] < sizes["full,without=gzip"] / 10
    assert transforms["full"] and not transforms["small"]
    assert desk.type_in("make", old, new, "-o", delta, "--profile", "tiny")[0] == 2
