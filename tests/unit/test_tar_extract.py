"""Extraction beneath a directory: what entries become on disk."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from smidgen_deltas.tar.attributes import Attributes, Report
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.extract import Options, extract
from smidgen_deltas.tar.member import MemberType, Segment
from smidgen_deltas.tar.pieces import Content

PLAIN = Options(attributes=Attributes(owner=False), devices=False)
LAYER = replace(PLAIN, whiteouts=True)
BODIES = {hashlib.sha256(data).digest(): data for data in (b"hello", b"world", b"abcde", b"z" * 300_000)}
TIME = 1_600_000_000_123_456_789


def file(path: str, data: bytes = b"", **fields: object) -> Entry:
    content = Content(len(data), hashlib.sha256(data).digest()) if data else None
    values: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": TIME, "size": len(data), **fields}
    return Entry(os.fsencode(path), MemberType.FILE, content=content, **values)  # type: ignore[arg-type]


def node(kind: MemberType, path: str, **fields: object) -> Entry:
    values: dict[str, object] = {"mode": 0o755, "uid": 0, "gid": 0, "mtime_ns": TIME, **fields}
    return Entry(os.fsencode(path), kind, **values)  # type: ignore[arg-type]


def directory(path: str, **fields: object) -> Entry:
    return node(MemberType.DIRECTORY, path, **fields)


def symlink(path: str, target: str) -> Entry:
    return node(MemberType.SYMLINK, path, linkname=target.encode())


def hardlink(path: str, target: str) -> Entry:
    return node(MemberType.HARDLINK, path, linkname=target.encode())


def open_content(content: Content) -> Iterator[bytes]:
    data = BODIES[content.sha256]
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def run(root: Path, entries: Iterable[Entry], options: Options = PLAIN) -> Report:
    root.mkdir(exist_ok=True)
    with opened(root) as handle:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of this process
        report = extract(handle, entries, open_content, options)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not [path for path in root.rglob(".smidgen-*") if path.name != ".smidgen-mine"]
    return report


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_files_directories_links(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        [
            directory("", mode=0o751),
            directory("d", mode=0o500),
            file("d/a", b"hello", mode=0o640),
            file("d/empty", mode=0o400),
            file("big", b"z" * 300_000),
            symlink("s", "d/a"),
            hardlink("d/b", "d/a"),
            node(MemberType.FIFO, "p", mode=0o620),
        ],
    )
    a = tmp_path / "d" / "a"
    assert (a.read_bytes(), stat.S_IMODE(a.stat().st_mode), a.stat().st_mtime_ns) == (b"hello", 0o640, TIME)
    assert a.stat().st_ino == (tmp_path / "d" / "b").stat().st_ino
    assert (tmp_path / "d" / "empty").stat().st_size == 0
    assert (tmp_path / "big").read_bytes() == b"z" * 300_000
    assert (tmp_path / "s").readlink() == Path("d/a")
    assert (tmp_path / "s").lstat().st_mtime_ns == TIME
    assert stat.S_ISFIFO((tmp_path / "p").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o500
    assert (tmp_path / "d").stat().st_mtime_ns == TIME
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o751
    assert dict(report.made) == {"directory": 1, "file": 3, "symlink": 1, "hardlink": 1, "fifo": 1}
    assert (report.written, dict(report.skipped)) == (300_005, {})


def test_names_need_not_be_text(tmp_path: Path) -> None:
    run(tmp_path, [replace(file("x", b"hello"), path=b"caf\xe9")])
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]  # noqa: PTH208 - bytes wanted


def test_parents_need_not_come_first(tmp_path: Path) -> None:
    run(tmp_path, [file("a/b/c", b"hello"), directory("a/b", mode=0o555), directory("a", mode=0o555)])
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"hello"
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o555


def test_the_last_of_equal_paths_wins(tmp_path: Path) -> None:
    entries = [
        file("a", b"hello"),
        directory("b"),
        file("b/x", b"hello"),
        file("c"),
        symlink("d", "nowhere"),
        file("a", b"world"),
        file("b", b"world"),
        directory("c", mode=0o711),
        directory("d", mode=0o711),
        file("d/y", b"hello"),
    ]
    run(tmp_path, entries)
    assert names(tmp_path) == ["a", "b", "c", "d", "d/y"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"world"
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o711


def test_a_directory_that_became_a_link_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    root = tmp_path / "root"
    run(root, [directory("d", mode=0o700), symlink("d", "../target")])
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_what_is_there_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"precious")
    root = tmp_path / "root"
    root.mkdir()
    os.link(tmp_path / "outside", root / "a")
    (root / "b").symlink_to("../outside")
    run(root, [file("a", b"hello"), file("b", b"world")])
    assert (tmp_path / "outside").read_bytes() == b"precious"
    assert (root / "a").read_bytes() == b"hello"
    assert not (root / "b").is_symlink()


def test_extracting_again_changes_nothing(tmp_path: Path) -> None:
    entries = [directory("d", mode=0o555), file("d/a", b"hello"), hardlink("d/b", "d/a"), hardlink("a", "d/a")]
    for _ in range(2):
        run(tmp_path, entries)
    assert names(tmp_path) == ["a", "d", "d/a", "d/b"]
    assert (tmp_path / "a").stat().st_nlink == 3


def test_sparse_files_keep_their_holes(tmp_path: Path) -> None:
    holes = (Segment(1 << 20, 2), Segment(3 << 20, 3))
    run(
        tmp_path,
        [
            file("s", b"abcde", size=4 << 20, sparse=holes),
            file("all-hole", size=1 << 20, sparse=()),
        ],
    )
    data = (tmp_path / "s").read_bytes()
    assert len(data) == 4 << 20
    assert data[1 << 20 : (1 << 20) + 2] == b"ab"
    assert data[3 << 20 : (3 << 20) + 3] == b"cde"
    assert data.count(0) == (4 << 20) - 5
    assert (tmp_path / "all-hole").read_bytes() == bytes(1 << 20)
    assert (tmp_path / "s").stat().st_blocks * 512 < 1 << 20


def test_extended_attributes(tmp_path: Path) -> None:
    pairs = ((b"user.a", b"1\0"), (b"user.b", b""))
    run(tmp_path, [file("f", b"hello", mode=0o400, xattrs=pairs), directory("d", mode=0o500, xattrs=pairs)])
    for path in (tmp_path / "f", tmp_path / "d"):
        assert os.getxattr(path, "user.a") == b"1\0"
        assert os.getxattr(path, "user.b") == b""


def test_attributes_that_cannot_be_are_reported(tmp_path: Path) -> None:
    report = run(tmp_path, [file("f", b"hello", xattrs=((b"nonsense.a", b"1"),))])
    assert (tmp_path / "f").read_bytes() == b"hello"
    assert sum(report.skipped.values()) == 1
    assert report.examples[0][1] == "f"


def test_devices_are_reported_when_not_made(tmp_path: Path) -> None:
    device = node(MemberType.CHAR, "null", devmajor=1, devminor=3)
    report = run(tmp_path, [device, hardlink("zero", "null"), file("a")])
    assert names(tmp_path) == ["a"]
    assert dict(report.skipped) == {"device": 1, "hard link to a device": 1}


def test_set_id_bits_need_ownership(tmp_path: Path) -> None:
    report = run(tmp_path, [file("su", b"hello", mode=0o6755)])
    assert stat.S_IMODE((tmp_path / "su").stat().st_mode) == 0o755
    assert dict(report.skipped) == {"set-id bits without ownership": 1}


@pytest.mark.needs("root")
def test_as_root_everything_is_restored(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    report = run(
        tmp_path,
        [
            directory("d", uid=1, gid=2, mode=0o3775),
            file("su", b"hello", uid=3, gid=4, mode=0o6755, xattrs=((b"security.capability", capability),)),
            replace(symlink("s", "su"), uid=5, gid=6, xattrs=((b"trusted.x", b"1"),)),
            node(MemberType.CHAR, "null", devmajor=1, devminor=3, mode=0o666, gid=7),
        ],
        Options(),
    )
    assert dict(report.skipped) == {}
    su, link, null = ((tmp_path / name).lstat() for name in ("su", "s", "null"))
    assert (su.st_uid, su.st_gid, stat.S_IMODE(su.st_mode)) == (3, 4, 0o6755)
    assert os.getxattr(tmp_path / "su", "security.capability") == capability
    assert (link.st_uid, link.st_gid, link.st_mtime_ns) == (5, 6, TIME)
    assert os.getxattr(tmp_path / "s", "trusted.x", follow_symlinks=False) == b"1"
    assert (null.st_rdev, null.st_gid, stat.S_IMODE(null.st_mode)) == (os.makedev(1, 3), 7, 0o666)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o3775


def as_nobody(root: Path, entries: list[Entry], answer: multiprocessing.Queue[Report]) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    with opened(root) as handle:
        answer.put(extract(handle, entries, open_content))


@pytest.mark.needs("root")
def test_as_somebody_else(tmp_path: Path) -> None:
    """Dropping root in a child: the defaults then skip owners and devices, and read-only directories still fill."""
    os.chown(tmp_path, 65534, 65534)
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    entries = [
        directory("d", mode=0o555, uid=0),
        file("d/a", b"hello", mode=0o444, xattrs=((b"user.x", b"1"), (b"security.capability", b"1"))),
        node(MemberType.CHAR, "null", devmajor=1, devminor=3),
    ]
    fork = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[Report] = fork.Queue()
    child = fork.Process(target=as_nobody, args=(tmp_path, entries, answer))
    child.start()
    report = answer.get(timeout=30)
    child.join()
    assert (tmp_path / "d" / "a").stat().st_uid == 65534
    assert os.getxattr(tmp_path / "d" / "a", "user.x") == b"1"
    assert report.made["file"] == 1
    assert report.skipped["device"] == 1
    assert len(report.skipped) == 2


def gone(path: str) -> Entry:
    return file(path)


WHITEOUTS = [
    ("a file", ["a", "b"], [gone(".wh.a")], ["b"]),
    ("a directory", ["d/a", "b"], [gone(".wh.d")], ["b"]),
    ("nothing", ["a"], [gone(".wh.x"), gone("no/where/.wh.x"), gone("a/.wh.x")], ["a"]),
    ("what this layer made", ["a"], [file("a", b"hello"), gone(".wh.a")], ["a"]),
    ("around what this layer made", ["d/a", "d/e/f"], [file("d/e/g"), gone(".wh.d")], ["d", "d/e", "d/e/g"]),
    ("opaque", ["d/a", "d/e/f", "b"], [gone("d/.wh..wh..opq"), file("d/n")], ["b", "d", "d/n"]),
    ("opaque afterwards", ["d/a", "d/e/f"], [file("d/e/g"), gone("d/.wh..wh..opq")], ["d", "d/e", "d/e/g"]),
    ("aufs", ["a"], [gone(".wh..wh.aufs"), gone(".wh..wh.plnk/1.2")], ["a"]),
]


@pytest.mark.parametrize(("below", "layer", "left"), [one[1:] for one in WHITEOUTS], ids=[one[0] for one in WHITEOUTS])
def test_whiteouts_of(tmp_path: Path, below: list[str], layer: list[Entry], left: list[str]) -> None:
    run(tmp_path, [file(path, b"world") for path in below])
    run(tmp_path, layer, LAYER)
    assert names(tmp_path) == left
