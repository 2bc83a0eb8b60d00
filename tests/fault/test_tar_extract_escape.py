"""Entries that try to get out, contents that lie, disks that fill: nothing outside changes, nothing wrong appears."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smidgen_deltas.errors import DigestMismatch, SizeMismatch, SmidgenError, StorageError
from smidgen_deltas.tar.attributes import Attributes
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.errors import TarCorrupt, TarLimit, UnsafePath
from smidgen_deltas.tar.extract import Options, extract
from smidgen_deltas.tar.member import MemberType, Segment
from smidgen_deltas.tar.pieces import Content

PLAIN = Options(attributes=Attributes(owner=False), devices=False)
DATA = b"payload"
CONTENT = Content(len(DATA), hashlib.sha256(DATA).digest())


def entry(path: bytes, kind: MemberType = MemberType.FILE, linkname: bytes = b"") -> Entry:
    file = kind is MemberType.FILE
    content, size = (CONTENT, len(DATA)) if file else (None, 0)
    return Entry(path, kind, 0o644, 0, 0, 0, linkname=linkname, content=content, size=size)


def symlink(path: bytes, target: bytes) -> Entry:
    return entry(path, MemberType.SYMLINK, target)


def hardlink(path: bytes, target: bytes) -> Entry:
    return entry(path, MemberType.HARDLINK, target)


class Arena:
    """A directory to extract into, and one beside it that must not change."""

    def __init__(self, base: Path) -> None:
        self.outside = base / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(b"secret")
        self.root = base / "root"
        self.root.mkdir()
        self.before = self.look()

    def look(self) -> list[tuple[str, bytes, int, int]]:
        return [
            (path.name, path.read_bytes(), path.stat().st_mode, path.stat().st_nlink)
            for path in sorted(self.outside.iterdir())
        ]

    def extract(self, entries: list[Entry], options: Options = PLAIN, content: bytes = DATA) -> None:
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            extract(handle, entries, lambda wanted: iter((content,)), options)
        finally:
            os.close(handle)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    made = Arena(tmp_path)
    yield made
    assert made.look() == made.before
    assert not list(made.root.rglob(".smidgen-*"))


DIRECTORY = MemberType.DIRECTORY
ESCAPES: list[tuple[str, list[Entry], type[SmidgenError]]] = [
    ("absolute", [entry(b"/tmp/x")], UnsafePath),
    ("upward", [entry(b"../outside/secret")], UnsafePath),
    ("upward later", [entry(b"a/../../outside/secret")], UnsafePath),
    ("through its own link", [symlink(b"l", b"../outside"), entry(b"l/secret")], UnsafePath),
    ("through a link deeper down", [symlink(b"a/l", b"../../outside"), entry(b"a/l/secret")], UnsafePath),
    ("through an absolute link", [symlink(b"l", b"/"), entry(b"l/tmp/x")], UnsafePath),
    ("through a link to itself", [symlink(b"l", b"l"), entry(b"l/x")], UnsafePath),
    ("link in a linked directory", [symlink(b"l", b"../outside"), symlink(b"l/x", b"y")], UnsafePath),
    ("hard link to outside", [hardlink(b"x", b"../outside/secret")], UnsafePath),
    ("hard link through a link", [symlink(b"l", b"../outside"), hardlink(b"x", b"l/secret")], UnsafePath),
    (
        "hard link into a linked directory",
        [symlink(b"l", b"../outside"), entry(b"f"), hardlink(b"l/x", b"f")],
        UnsafePath,
    ),
    ("hard link to nothing", [hardlink(b"x", b"a/b")], TarCorrupt),
    ("hard link to a directory", [entry(b"d", DIRECTORY), hardlink(b"x", b"d")], TarCorrupt),
    ("hard link to the root", [hardlink(b"x", b"")], TarCorrupt),
    ("the root as a file", [entry(b"")], UnsafePath),
    ("NUL", [entry(b"a\0b")], UnsafePath),
    ("whiteout in a merged tree", [entry(b".wh.x")], UnsafePath),
    ("file as parent", [entry(b"f"), entry(b"f/x")], UnsafePath),
]


@pytest.mark.parametrize(("entries", "error"), [case[1:] for case in ESCAPES], ids=[case[0] for case in ESCAPES])
def test_is_refused(arena: Arena, entries: list[Entry], error: type[SmidgenError]) -> None:
    with pytest.raises(error):
        arena.extract(entries)


PLANTED = {
    "directory": (b"d/secret", UnsafePath),
    "deep directory": (b"d/e/secret", UnsafePath),
}


@pytest.mark.parametrize(("path", "error"), PLANTED.values(), ids=PLANTED.keys())
def test_planted_links_are_not_followed(arena: Arena, path: bytes, error: type[SmidgenError]) -> None:
    (arena.root / "d").symlink_to(arena.outside)
    with pytest.raises(error):
        arena.extract([entry(path)])


def test_planted_links_are_replaced_when_they_are_the_entry(arena: Arena) -> None:
    (arena.root / "d").symlink_to(arena.outside)
    (arena.root / "f").symlink_to(arena.outside / "secret")
    (arena.root / "g").symlink_to(arena.outside / "new")
    arena.extract([entry(b"d", DIRECTORY), entry(b"d/secret"), entry(b"f"), entry(b"g")])
    assert (arena.root / "d" / "secret").read_bytes() == DATA
    assert (arena.root / "f").read_bytes() == DATA


def test_a_link_planted_while_extracting_is_not_followed(arena: Arena) -> None:
    def plant(content: Content) -> Iterator[bytes]:
        (arena.root / "d").rename(arena.root / "elsewhere")
        (arena.root / "d").symlink_to(arena.outside)
        yield DATA

    handle = os.open(arena.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        extract(handle, [entry(b"d", DIRECTORY), entry(b"d/secret")], plant, PLAIN)
    finally:
        os.close(handle)
    assert (arena.root / "elsewhere" / "secret").read_bytes() == DATA


def test_whiteouts_do_not_follow_links(arena: Arena) -> None:
    (arena.root / "d").symlink_to(arena.outside)
    layer = replace(PLAIN, whiteouts=True)
    arena.extract([entry(b"d/.wh.secret"), entry(b"d/.wh..wh..opq")], layer)
    for name in (b".wh...", b".wh..", b".wh.", b"d/.wh..."):
        with pytest.raises(UnsafePath):
            arena.extract([entry(name)], layer)
    (arena.root / "e").mkdir()
    (arena.root / "e" / "l").symlink_to(arena.outside)
    arena.extract([entry(b".wh.e"), entry(b".wh.d")], layer)
    assert list(arena.root.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"PAYLOAD", DigestMismatch), (b"short", SizeMismatch), (DATA + b"!", SizeMismatch), (b"", SizeMismatch)],
)
def test_wrong_content_never_gets_a_name(arena: Arena, content: bytes, error: type[SmidgenError]) -> None:
    arena.extract([replace(entry(b"f"), content=None, size=0)])
    with pytest.raises(error):
        arena.extract([entry(b"f")], content=content)
    assert (arena.root / "f").read_bytes() == b""


def test_a_sparse_map_that_is_too_small(arena: Arena) -> None:
    with pytest.raises(SizeMismatch):
        arena.extract([replace(entry(b"f"), sparse=(Segment(0, 2),), size=9)])
    assert list(arena.root.iterdir()) == []


def test_impossible_numbers(arena: Arena) -> None:
    owner = Options(attributes=Attributes(owner=True), devices=True)
    with pytest.raises(TarLimit):
        arena.extract([replace(entry(b"f"), uid=(1 << 32) - 1)], owner)  # "leave it" to chown(2)
    with pytest.raises(TarLimit):
        arena.extract([replace(entry(b"n", MemberType.CHAR), devmajor=1 << 40)], owner)
    assert list(arena.root.iterdir()) == []


def test_a_store_that_fails(arena: Arena) -> None:
    def failing(content: Content) -> Iterator[bytes]:
        yield DATA[:3]
        raise OSError(errno.ENOSPC, "No space left on device")

    handle = os.open(arena.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(StorageError) as caught:
            extract(handle, [entry(b"f")], failing, PLAIN)
    finally:
        os.close(handle)
    assert caught.value.detail["path"] == "f"
    assert list(arena.root.iterdir()) == []


def test_names_longer_than_the_file_system_takes(arena: Arena) -> None:
    with pytest.raises(StorageError):
        arena.extract([symlink(b"l", b"t" * 5000)])
