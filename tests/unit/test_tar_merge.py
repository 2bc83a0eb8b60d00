"""Layers on top of each other: replacing, whiteouts, opaque directories, hard links (image-spec, layer.md)."""

from __future__ import annotations

import pytest

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.tar.entries import Entry, entries
from smidgen_deltas.tar.errors import TarCorrupt, TarLimit, UnsafePath
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.merge import MergedTree, merge
from smidgen_deltas.tar.paths import clean
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import Splitter
from smidgen_deltas.tar.whiteout import Whiteout, WhiteoutKind, understand
from support import tars


def file(path: str, mark: int = 0, **fields: object) -> Entry:
    values: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": mark, "size": 1}
    values |= {"content": Content(1, bytes([mark]) * 32), **fields}
    return Entry(path.encode(), MemberType.FILE, **values)  # type: ignore[arg-type]


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path.encode(), MemberType.DIRECTORY, mode, 0, 0, 0)


def symlink(path: str, target: str) -> Entry:
    return Entry(path.encode(), MemberType.SYMLINK, 0o777, 0, 0, 0, linkname=target.encode())


def hardlink(path: str, target: str) -> Entry:
    return Entry(path.encode(), MemberType.HARDLINK, 0o644, 0, 0, 0, linkname=target.encode())


def gone(path: str) -> Entry:
    return file(path, size=0, content=None)


def shape(tree: MergedTree) -> list[str]:
    """path=mark for files, path/ for directories, path->target for links."""
    result = []
    for entry in tree.entries():
        path = entry.path.decode()
        if entry.type is MemberType.DIRECTORY:
            result.append(path + "/")
        elif entry.type is MemberType.FILE:
            result.append(f"{path}={entry.mtime_ns}")
        else:
            result.append(f"{path}->{entry.linkname.decode()}")
    return result


CASES: list[tuple[str, list[list[Entry]], list[str]]] = [
    ("nothing", [], []),
    ("parents are made", [[file("a/b/c")]], ["a/", "a/b/", "a/b/c=0"]),
    ("order is by name", [[file("b"), file("a/z"), file("a.x"), file("a0")]], ["a/", "a/z=0", "a.x=0", "a0=0", "b=0"]),
    ("the upper file wins", [[file("a", 1)], [file("a", 2)]], ["a=2"]),
    ("the last of one layer wins", [[file("a", 1), file("a", 2)]], ["a=2"]),
    (
        "directories unite",
        [[directory("d"), file("d/a", 1)], [directory("d"), file("d/b", 2)]],
        ["d/", "d/a=1", "d/b=2"],
    ),
    ("a file replaces a directory", [[file("d/a")], [file("d", 2)]], ["d=2"]),
    ("a directory replaces a file", [[file("d")], [file("e"), directory("d"), file("d/a")]], ["d/", "d/a=0", "e=0"]),
    ("a directory replaces a symlink", [[symlink("d", "e")], [directory("d"), file("d/a")]], ["d/", "d/a=0"]),
    ("a whiteout removes a file", [[file("d/a"), file("d/b")], [gone("d/.wh.a")]], ["d/", "d/b=0"]),
    ("a whiteout removes a directory", [[file("d/a/x"), file("b")], [gone("d/.wh.a")]], ["b=0", "d/"]),
    ("a whiteout spares its own layer", [[file("a", 1)], [file("a", 2), gone(".wh.a")]], ["a=2"]),
    ("... in the other order too", [[file("a", 1)], [gone(".wh.a"), file("a", 2)]], ["a=2"]),
    ("... and what is below", [[file("d/x", 1)], [file("d/y", 2), gone(".wh.d")]], ["d/", "d/y=2"]),
    ("a whiteout of nothing", [[file("a")], [gone(".wh.b"), gone("c/.wh.d")]], ["a=0"]),
    ("an opaque directory", [[file("d/a"), file("d/e/f")], [file("d/b", 2), gone("d/.wh..wh..opq")]], ["d/", "d/b=2"]),
    ("an opaque root", [[file("a")], [gone(".wh..wh..opq"), file("b")]], ["b=0"]),
    ("an opaque file", [[file("a")], [gone("a/.wh..wh..opq")]], ["a=0"]),
    ("aufs' own files", [[file("a")], [gone(".wh..wh.plnk"), file(".wh..wh.plnk/7.8"), gone(".wh..wh.aufs")]], ["a=0"]),
    ("three layers", [[file("a", 1)], [gone(".wh.a")], [file("a", 3)]], ["a=3"]),
    ("hard links", [[file("a", 1), hardlink("b", "a")]], ["a=1", "b->a"]),
    ("the first path has the content", [[file("z", 1), hardlink("b", "z")]], ["b=1", "z->b"]),
    ("links of links", [[file("a", 1), hardlink("b", "a"), hardlink("c", "b")]], ["a=1", "b->a", "c->a"]),
    ("a link into a lower layer", [[file("a", 1)], [hardlink("b", "a")]], ["a=1", "b->a"]),
    ("a link outlives its target", [[file("a", 1), hardlink("b", "a")], [file("a", 2)]], ["a=2", "b=1"]),
    ("... and its whiteout", [[file("a", 1), hardlink("b", "a")], [gone(".wh.a")]], ["b=1"]),
    ("a link to a symlink", [[symlink("a", "x"), hardlink("b", "a")]], ["a->x", "b->a"]),
    ("a link to itself", [[file("a", 1), hardlink("a", "a")]], ["a=1"]),
    ("the root", [[directory("", 0o700), file("a")]], ["/", "a=0"]),
]


@pytest.mark.parametrize(("layers", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_layers_give(layers: list[list[Entry]], expected: list[str]) -> None:
    assert shape(merge(layers)) == expected


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([[file("a"), file("a/b")]], UnsafePath),
        ([[symlink("lib", "usr/lib"), file("lib/x")]], UnsafePath),
        ([[symlink("lib", "usr/lib")], [file("lib/x")]], UnsafePath),
        ([[hardlink("b", "a")]], TarCorrupt),
        ([[directory("a"), hardlink("b", "a")]], TarCorrupt),
        ([[file("")]], UnsafePath),
        ([[gone(".wh.")]], UnsafePath),
        ([[gone("d/.wh..")]], UnsafePath),
        ([[gone("d/.wh...")]], UnsafePath),
        ([[file(".wh.a/b")]], UnsafePath),
    ],
)
def test_is_refused(layers: list[list[Entry]], error: type[SmidgenError]) -> None:
    with pytest.raises(error):
        merge(layers)


def test_duplicates_are_reported_within_a_layer_only() -> None:
    tree = merge([[file("a"), file("b"), file("a")], [file("b")]])
    assert tree.duplicates == [b"a"]


def test_the_number_of_entries_is_bounded() -> None:
    with pytest.raises(TarLimit):
        merge([[file("a"), file("b")], [file("c")]], limit=2)


def test_single_paths_can_be_asked_for() -> None:
    tree = merge([[file("d/a", 1), hardlink("b", "d/a")]])
    found = tree.get(b"b")
    assert found is not None
    assert (found.path, found.type, found.content) == (b"b", MemberType.FILE, Content(1, b"\x01" * 32))
    assert tree.get(b"d/x") is None
    assert tree.get(b"d/a/x") is None


@pytest.mark.parametrize("name", [b"/abs", b"../up", b"a/../../b", b"a/..", b"x" * 256, b"a/" * 300 + b"b"])
def test_names_that_lead_elsewhere_are_refused(name: bytes) -> None:
    with pytest.raises(UnsafePath):
        clean(name)
    archive = tars.pax((b"path", name)) + tars.member(b"short", b"x") + tars.END
    with pytest.raises(UnsafePath):
        list(entries(Splitter([archive], lambda member, size: None)))


@pytest.mark.parametrize("target", [b"/abs", b"../up"])
def test_hard_links_that_lead_elsewhere_are_refused(target: bytes) -> None:
    archive = tars.header(b"l", typeflag=b"1", linkname=target) + tars.END
    with pytest.raises(UnsafePath):
        list(entries(Splitter([archive], lambda member, size: None)))


@pytest.mark.parametrize(
    ("given", "path"), [(b"./", b""), (b".", b""), (b"./a//b/./c/", b"a/b/c"), (b"..a/b..", b"..a/b..")]
)
def test_names_have_one_spelling(given: bytes, path: bytes) -> None:
    assert clean(given) == path


@pytest.mark.parametrize(
    ("path", "whiteout"),
    [
        (b"a/.whx", Whiteout(WhiteoutKind.PLAIN, b"a/.whx")),
        (b"a/x.wh.y", Whiteout(WhiteoutKind.PLAIN, b"a/x.wh.y")),
        (b"a/.wh.b", Whiteout(WhiteoutKind.REMOVE, b"a/b")),
        (b".wh.b", Whiteout(WhiteoutKind.REMOVE, b"b")),
        (b"a/.wh..wh..opq", Whiteout(WhiteoutKind.CLEAR, b"a")),
        (b".wh..wh..opq", Whiteout(WhiteoutKind.CLEAR, b"")),
        (b".wh..wh.orph/x", Whiteout(WhiteoutKind.IGNORE, b".wh..wh.orph/x")),
    ],
)
def test_whiteouts_are_understood(path: bytes, whiteout: Whiteout) -> None:
    assert understand(path) == whiteout
