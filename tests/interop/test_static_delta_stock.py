"""Stock ostree applies our static deltas, and we apply those of stock ostree."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.static.describe import describe_delta
from smidgen_deltas.ostree.static.files import DeltaFiles
from smidgen_deltas.ostree.static.limits import PartTooLarge
from support.ostree import ostree
from support.static_deltas import NOISE, Commits, apply, committed, holding, made
from support.static_site import serve_directory

pytestmark = pytest.mark.needs("ostree")


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> Commits:
    return committed(tmp_path_factory.mktemp("commits"))


def check(repo: Path, commit: bytes) -> None:
    ostree(repo, "fsck")
    assert ostree(repo, "ls", "-R", commit.hex())


@pytest.mark.parametrize("scratch", [False, True])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_stock_applies_ours_offline(commits: Commits, tmp_path: Path, form: str, scratch: bool) -> None:
    origin, old, new = commits
    source = None if scratch else old
    delta = made(origin, source, new)
    path = tmp_path / "delta"
    if form == "file":
        path.write_bytes(delta.single_file())
    else:
        path.mkdir()
        delta.write_folder(path)
    device = holding(tmp_path, origin, source)
    ostree(device, "static-delta", "apply-offline", str(path))
    check(device, new)


def test_stock_applies_parts_that_were_cut(commits: Commits, tmp_path: Path) -> None:
    origin, old, new = commits
    delta = made(origin, old, new, longest=4_600_000)
    whole = len(made(origin, old, new).parts)
    assert len(delta.parts) > whole
    for entry, packed in zip(delta.superblock.parts, delta.parts, strict=True):
        assert packed.payload <= min(4_600_000, entry.usize)
    path = tmp_path / "delta"
    path.mkdir()
    delta.write_folder(path)
    device = holding(tmp_path, origin, old)
    ostree(device, "static-delta", "apply-offline", str(path))
    check(device, new)


def test_a_file_that_no_part_can_hold_is_refused(commits: Commits) -> None:
    origin, old, new = commits
    with pytest.raises(PartTooLarge) as refused:
        made(origin, old, new, longest=4_000_000)
    assert refused.value.detail["payload"] > refused.value.detail["limit"] == 4_000_000
    assert str(refused.value.detail["object"]).endswith(".file")


@pytest.mark.parametrize("mode", ["bare-user", pytest.param("bare", marks=pytest.mark.needs("root"))])
def test_stock_pulls_ours(commits: Commits, tmp_path: Path, mode: str) -> None:
    origin, old, new = commits
    folder = origin / DeltaName(old, new).folder
    folder.mkdir(parents=True, exist_ok=True)
    made(origin, old, new).write_folder(folder)
    ostree(origin, "summary", "-u")
    device = holding(tmp_path, origin, old, mode)
    with serve_directory(origin) as site:
        ostree(device, "remote", "add", "--no-gpg-verify", "origin", site.url)
        ostree(device, "pull", "--require-static-deltas", "origin", f"os@{new.hex()}")
        files = {f"/{path.relative_to(origin)}" for path in folder.iterdir()}
        # and loose objects, as with its own deltas: it looks through the commit while the parts are being applied
        assert files <= set(site.paths) and len(files) > 1
    check(device, new)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--inline"],
        ["--disable-bsdiff"],
        ["--min-fallback-size=0"],
        ["--max-bsdiff-size=0"],
        ["--swap-endianness"],
        ["--max-chunk-size=1", "--min-fallback-size=0"],
    ],
)
def test_we_apply_stock_deltas(commits: Commits, tmp_path: Path, options: list[str]) -> None:
    origin, old, new = commits
    words = ["static-delta", "generate", *options, f"--from={old.hex()}", f"--to={new.hex()}"]
    path = tmp_path / "delta" / "superblock"
    path.parent.mkdir()
    ostree(origin, *words, f"--filename={path}", "--min-fallback-size=0")
    device = holding(tmp_path, origin, old)
    assert apply(path, device) == new
    check(device, new)


def test_we_apply_stock_deltas_from_nothing(commits: Commits, tmp_path: Path) -> None:
    origin, _, new = commits
    path = tmp_path / "scratch"
    words = ["static-delta", "generate", "--empty", f"--to={new.hex()}", "--min-fallback-size=0", "--inline"]
    ostree(origin, *words, f"--filename={path}")
    assert apply(path, tmp_path / "device") == new
    check(tmp_path / "device", new)


def test_ours_is_smaller_and_says_what_it_does(commits: Commits, tmp_path: Path) -> None:
    origin, old, new = commits
    path = tmp_path / "stock"
    words = ["static-delta", "generate", "--inline", "--min-fallback-size=0", f"--filename={path}"]
    ostree(origin, *words, f"--from={old.hex()}", f"--to={new.hex()}")
    delta = made(origin, old, new)
    assert delta.size - NOISE < 0.5 * (path.stat().st_size - NOISE)
    (tmp_path / "ours").mkdir()
    delta.write_folder(tmp_path / "ours")
    files = DeltaFiles.open(tmp_path / "ours")
    facts = describe_delta(files.superblock, len(files.data), files.part)
    assert (facts.source, facts.target, facts.fallbacks) == (old.hex(), new.hex(), ())
    assert facts.size == delta.size
    assert all(part.usize >= part.blob for part in facts.parts)
    assert sum(part.operations.get("source", 0) for part in facts.parts) >= 3
