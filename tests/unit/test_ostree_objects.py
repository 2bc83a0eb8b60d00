"""Every object that stock ostree made is read, written back byte for byte, and named right."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.filez import FilezCorrupt, deflate, encode_filez_header, inflate, open_filez, write_filez
from smidgen_deltas.ostree.gvariant import NotNormal, Variant
from smidgen_deltas.ostree.objects import (
    EXTENSIONS,
    Commit,
    DirMeta,
    DirTree,
    FileHeader,
    ObjectInvalid,
    ObjectName,
    ObjectType,
    check_metadata,
    checksum_file,
    loose_path,
)
from support.ostree import FIRST, SECOND, unpack_archive_repo

PARSERS = {ObjectType.COMMIT: Commit, ObjectType.DIRTREE: DirTree, ObjectType.DIRMETA: DirMeta}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_archive_repo(tmp_path_factory.mktemp("vectors"))


def named(path: Path, kind: ObjectType) -> ObjectName:
    return ObjectName(kind, bytes.fromhex(path.parent.name + path.name.partition(".")[0]))


@pytest.mark.parametrize("kind", PARSERS)
def test_metadata_objects_round_trip(repo: Path, kind: ObjectType) -> None:
    found = list(repo.glob(f"objects/*/*{EXTENSIONS[kind]}"))
    assert found
    for path in found:
        data = path.read_bytes()
        check_metadata(named(path, kind), data)
        assert PARSERS[kind].decode(data).encode() == data


def test_file_objects_have_the_checksum_of_their_name(repo: Path) -> None:
    found = list(repo.glob("objects/*/*.filez"))
    assert len(found) == 23
    for path in found:
        with path.open("rb") as file:
            opened = open_filez(file)
            body = b"".join(opened.chunks)
        assert checksum_file(opened.header, [body]) == named(path, ObjectType.FILE).checksum
        assert FileHeader.decode(opened.header.encode()) == opened.header
        assert path.read_bytes().startswith(encode_filez_header(opened.header, opened.size))
        again = open_filez(io.BytesIO(b"".join(write_filez(opened.header, opened.size, [body]))))
        assert b"".join(again.chunks) == body


def test_commit_says_what_was_committed(repo: Path) -> None:
    data = (repo / loose_path(ObjectName(ObjectType.COMMIT, SECOND), "archive")).read_bytes()
    commit = Commit.decode(data)
    assert (commit.subject, commit.parent) == ("second", FIRST)
    assert commit.metadata["version"] == Variant("s", "2.0")
    assert 1706000000 < commit.timestamp < 1708000000  # 2024-02-02


def test_summary_and_superblock_types_round_trip(repo: Path) -> None:
    summary = (repo / "summary").read_bytes()
    assert gvariant.encode("(a(s(taya{sv}))a{sv})", gvariant.decode("(a(s(taya{sv}))a{sv})", summary)) == summary
    superblock = "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))"
    for path in repo.glob("deltas/*/*/superblock"):
        data = path.read_bytes()
        assert gvariant.encode(superblock, gvariant.decode(superblock, data)) == data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("name with a slash", DirTree((("a/b", bytes(32)),)).encode()),
        ("parent", DirTree((("..", bytes(32)),)).encode()),
        ("name twice", DirTree((("a", bytes(32)),), (("a", bytes(32), bytes(32)),)).encode()),
        ("short checksum", DirTree((("a", bytes(31)),)).encode()),
    ],
)
def test_dirtrees_that_stock_clients_refuse_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(ObjectInvalid):
        DirTree.decode(data)


def test_headers_that_stock_clients_refuse_are_refused() -> None:
    device = FileHeader(0, 0, 0o020644)
    with pytest.raises(ObjectInvalid):
        FileHeader.decode(device.encode())
    unsorted = FileHeader(0, 0, 0o100644, ((b"user.b\0", b""), (b"user.a\0", b"")))
    with pytest.raises(ObjectInvalid):
        FileHeader.decode(unsorted.encode())


def test_worked_examples_of_the_format() -> None:
    assert DirMeta(0, 0, 0o40755).encode().hex() == "0000000000000000000041ed"
    xattr = DirMeta(0, 0, 0o40755, ((b"user.dirattr\0", b"d"),))
    assert xattr.encode().hex() == "0000000000000000000041ed" + "757365722e6469726174747200" + "640d0f"
    assert DirTree().encode() == b"\0"
    link = FileHeader(0, 0, 0o120777, (), "../bin/tool")
    assert link.encode().hex() == "00000000000000000000a1ff00000000" + b"../bin/tool\0".hex() + "1c"


SIGNATURES = st.recursive(
    st.sampled_from(["y", "b", "u", "t", "s"]),
    lambda inner: st.one_of(
        inner.map("a{}".format), st.lists(inner, min_size=1, max_size=4).map("".join).map("({})".format)
    ),
    max_leaves=6,
)


def values(signature: str) -> st.SearchStrategy[object]:
    return of_type(gvariant.parse_type(signature))


def of_type(kind: gvariant.Type) -> st.SearchStrategy[object]:
    if kind.code == "a":
        if kind.members[0].code == "y":
            return st.binary(max_size=20) | st.just(bytes(300))
        return st.lists(of_type(kind.members[0]), max_size=3).map(tuple)
    if kind.code == "(":
        return st.tuples(*(of_type(member) for member in kind.members))
    return {
        "y": st.integers(0, 255),
        "b": st.booleans(),
        "u": st.integers(0, 2**32 - 1),
        "t": st.integers(0, 2**64 - 1),
        "s": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    }[kind.code]


@given(st.data())
def test_any_value_round_trips(data: st.DataObject) -> None:
    signature = data.draw(SIGNATURES)
    value = data.draw(values(signature))
    encoded = gvariant.encode(signature, value)
    assert gvariant.decode(signature, encoded) == value
    assert gvariant.decode("v", gvariant.encode("v", Variant(signature, value))) == Variant(signature, value)


@given(SIGNATURES, st.binary(max_size=80))
def test_any_bytes_are_normal_form_or_refused(signature: str, data: bytes) -> None:
    try:
        value = gvariant.decode(signature, data)
    except NotNormal:
        return
    assert gvariant.encode(signature, value) == data


@given(st.data())
def test_damaged_objects_are_refused_or_still_normal(data: st.DataObject) -> None:
    whole = DirTree((("a", b"1" * 32), ("b", b"2" * 32)), (("c", b"3" * 32, b"4" * 32),)).encode()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = damaged[: data.draw(st.integers(0, len(whole)))]
    try:
        tree = DirTree.decode(bytes(cut))
    except SmidgenError:
        return
    assert tree.encode() == cut


@pytest.mark.parametrize("size", [0, 1, 255 << 10, 256 << 10, (256 << 10) + 1, 600_000])
def test_inflate_gives_back_every_size(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stream = b"".join(deflate([body]))
    assert b"".join(inflate(io.BytesIO(stream), size)) == body


def test_inflate_refuses_what_is_not_as_declared() -> None:
    stream = b"".join(deflate([b"text" * 1000]))
    for data, size in [(stream, 3999), (stream, 4001), (stream[:-1], 4000), (stream + b"x", 4000), (b"\xff" * 9, 9)]:
        with pytest.raises(FilezCorrupt):
            list(inflate(io.BytesIO(data), size))


def test_inflate_is_bounded_by_the_declared_size() -> None:
    bomb = b"".join(deflate([bytes(50 << 20)]))
    produced = 0
    with pytest.raises(FilezCorrupt):
        for block in inflate(io.BytesIO(bomb), 1000):
            produced += len(block)
    assert produced <= 1000


def test_folders_may_have_xattrs_in_any_order_files_not() -> None:
    """libostree wrote ACLs of folders twice when it read them from tars; no file system gives a file back so."""
    twice = ((b"user.b\0", b"1"), (b"user.b\0", b"1"), (b"user.a\0", b""))
    encoded = DirMeta(0, 0, 0o40755, twice).encode()
    assert DirMeta.decode(encoded).xattrs == twice
    with pytest.raises(ObjectInvalid):
        FileHeader.decode(FileHeader(0, 0, 0o100644, twice).encode())
    with pytest.raises(ObjectInvalid):
        DirMeta.decode(DirMeta(0, 0, 0o40755, ((b"user.b", b"1"),)).encode())
