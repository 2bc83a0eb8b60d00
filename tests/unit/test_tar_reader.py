"""What the tar reader makes of well-formed archives, feature by feature."""

from __future__ import annotations

import io

import pytest

from smidgen_deltas.tar.errors import TarCorrupt
from smidgen_deltas.tar.member import Member, MemberType, Segment
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.source import FileSource
from smidgen_deltas.tar.sparse import expand
from support import tars


def read(data: bytes, size: int = 1 << 18) -> list[tuple[Member, bytes]]:
    return [(member, b"".join(member.chunks())) for member in TarReader(tars.blocks(data, size))]


def only(data: bytes) -> Member:
    [(member, _)] = read(data + tars.END)
    return member


def test_empty_archives_have_no_members() -> None:
    assert read(b"") == []
    assert read(tars.END) == []
    assert read(bytes(512)) == []


def test_members_come_with_their_bytes_whatever_the_block_size() -> None:
    archive = tars.member(b"a", b"x" * 700) + tars.member(b"b") + tars.member(b"c", b"y" * 512) + tars.END
    for size in (1, 7, 512, 513, 1 << 18):
        found = [(member.path, data) for member, data in read(archive, size)]
        assert found == [(b"a", b"x" * 700), (b"b", b""), (b"c", b"y" * 512)]


def test_unread_bodies_are_passed_over() -> None:
    archive = tars.member(b"a", b"x" * 5000) + tars.member(b"b", b"y") + tars.END
    assert [member.path for member in TarReader(tars.blocks(archive, 600))] == [b"a", b"b"]
    assert [member.path for member in TarReader(FileSource(io.BytesIO(archive)))] == [b"a", b"b"]


def test_a_body_is_gone_once_the_reader_went_on() -> None:
    reader = TarReader([tars.member(b"a", b"x") + tars.member(b"b", b"y") + tars.END])
    first = next(reader)
    next(reader)
    with pytest.raises(RuntimeError):
        list(first.chunks())


def test_header_fields() -> None:
    data = tars.member(
        b"name", b"12", mode=0o104755, uid=7, gid=8, mtime=9, uname=b"u", gname=b"g", prefix=b"some/where"
    )
    member = only(data)
    assert (member.path, member.mode, member.uid, member.gid) == (b"some/where/name", 0o4755, 7, 8)
    assert (member.mtime, member.uname, member.gname, member.size) == (9, b"u", b"g", 2)


def test_numbers_in_base_256() -> None:
    member = only(tars.header(uid=tars.base256(1 << 40, 8), mtime=tars.base256(-5, 12), magic=tars.GNU))
    assert (member.uid, member.mtime) == (1 << 40, -5)


@pytest.mark.parametrize("field", [b"      7 ", b"0000007 ", b"00000007", b"7\0\0\0\0\0\0\0", b"   7\0   "])
def test_numbers_in_octal(field: bytes) -> None:
    assert only(tars.header(uid=field)).uid == 7


def test_checksum_of_signed_bytes() -> None:
    plain = tars.header(b"caf\xe9")
    signed = sum(byte - 256 if byte > 127 else byte for byte in plain[:148] + b" " * 8 + plain[156:])
    assert only(tars.header(b"caf\xe9", checksum=b"%06o\0 " % signed)).path == b"caf\xe9"


@pytest.mark.parametrize(
    ("typeflag", "kind"),
    [
        (b"\0", MemberType.FILE),
        (b"7", MemberType.FILE),
        (b"1", MemberType.HARDLINK),
        (b"2", MemberType.SYMLINK),
        (b"3", MemberType.CHAR),
        (b"4", MemberType.BLOCK),
        (b"5", MemberType.DIRECTORY),
        (b"6", MemberType.FIFO),
    ],
)
def test_types(typeflag: bytes, kind: MemberType) -> None:
    member = only(tars.header(b"x", typeflag=typeflag, linkname=b"to", devmajor=8, devminor=1))
    assert member.type is kind
    assert member.linkname == (b"to" if kind in (MemberType.HARDLINK, MemberType.SYMLINK) else b"")
    assert (member.devmajor, member.devminor) == ((8, 1) if kind in (MemberType.CHAR, MemberType.BLOCK) else (0, 0))


def test_directories_of_the_seventies() -> None:
    assert only(tars.header(b"dir/", typeflag=b"\0", magic=tars.V7)).type is MemberType.DIRECTORY


def test_v7_has_no_prefix() -> None:
    assert only(tars.header(b"f", magic=tars.V7, prefix=b"garbage")).path == b"f"


def test_gnu_times_are_no_prefix() -> None:
    assert only(tars.header(b"f", magic=tars.GNU, prefix=b"14321234567\x0014321234567\0")).path == b"f"


def test_star_prefix_ends_before_its_times() -> None:
    prefix = b"d".ljust(131, b"\0") + b"14321234567\x0014321234567\0"
    assert only(tars.header(b"f", prefix=prefix, tail=b"\0" * 8 + b"tar\0")).path == b"d/f"


def test_gnu_long_names() -> None:
    name, link = b"n" * 300, b"l" * 400
    data = tars.long_name(link, b"K") + tars.long_name(name) + tars.header(b"n", typeflag=b"2", magic=tars.GNU)
    member = only(data)
    assert (member.path, member.linkname, member.offset) == (name, link, 0)


def test_pax_records_win_and_apply_to_one_member_only() -> None:
    records = (
        (b"path", b"p" * 200),
        (b"linkpath", b"l" * 200),
        (b"uid", b"4294967296"),
        (b"gid", b"5"),
        (b"mtime", b"1.5"),
        (b"uname", b"\xc3\xa4"),
        (b"vendor.thing", b"kept"),
    )
    data = tars.pax(*records) + tars.header(b"short", typeflag=b"2", linkname=b"x") + tars.member(b"next")
    (first, _), (second, _) = read(data + tars.END)
    assert (first.path, first.linkname, first.uid, first.gid) == (b"p" * 200, b"l" * 200, 1 << 32, 5)
    assert (first.mtime_ns, first.uname) == (1_500_000_000, b"\xc3\xa4")
    assert (b"vendor.thing", b"kept") in first.records
    assert (second.path, second.uid, second.records) == (b"next", 0, ())


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1.000000001", 1_000_000_001),
        (b"1.0000000019", 1_000_000_001),
        (b"-1.5", -1_500_000_000),
        (b"-0.0000000001", -1),
        (b"12.", 12_000_000_000),
    ],
)
def test_times_have_nanoseconds(text: bytes, nanoseconds: int) -> None:
    assert only(tars.pax((b"mtime", text)) + tars.header()).mtime_ns == nanoseconds


def test_a_pax_size_wins_and_says_where_the_next_header_is() -> None:
    """CVE-2025-62518: a reader that goes by the header's size takes the content for headers."""
    smuggled = tars.member(b"smuggled", b"!")
    for ustar_size in (0, 1, 512, 4096):
        body = smuggled
        data = tars.pax((b"size", b"%d" % len(body))) + tars.header(b"outer", ustar_size) + body
        [(member, content)] = read(data + tars.END)
        assert (member.path, member.size, content) == (b"outer", len(body), body)


def test_global_times_are_inherited_until_replaced() -> None:
    first = tars.pax((b"mtime", b"5"), (b"comment", b"c"), typeflag=b"g") + tars.header(b"a", mtime=1)
    second = tars.pax((b"mtime", b"7")) + tars.header(b"b")
    third = tars.pax((b"mtime", b""), typeflag=b"g") + tars.header(b"c", mtime=1)
    assert [member.mtime for member, _ in read(first + second + third + tars.END)] == [5, 7, 1]


def test_extended_attributes_in_both_spellings() -> None:
    records = (
        (b"SCHILY.xattr.user.b", b"1=2\n\0"),
        (b"LIBARCHIVE.xattr.user.b", b"MT0yCgA"),
        (b"LIBARCHIVE.xattr.user.%61", b""),
    )
    assert only(tars.pax(*records) + tars.header()).xattrs == ((b"user.a", b""), (b"user.b", b"1=2\n\0"))


def test_names_are_handed_out_raw() -> None:
    for name in (b"/etc/passwd", b"../../x", b"./a//b/./c", b"dir/"):
        typeflag = b"5" if name.endswith(b"/") else b"0"
        assert only(tars.header(name, typeflag=typeflag)).path == name


def test_what_follows_the_end_is_literal_and_counted() -> None:
    literal = bytearray()
    trailing = tars.member(b"hidden", b"?") + b"odd"
    reader = TarReader([tars.member(b"a", b"x") + tars.END + trailing], literal=literal.extend)
    assert [member.path for member in reader] == [b"a"]
    assert reader.trailer == len(trailing)
    assert literal.endswith(tars.END + trailing)


def test_a_missing_end_marker_is_no_error() -> None:
    assert [member.path for member, _ in read(tars.member(b"a", b"x"))] == [b"a"]


SPARSE = (Segment(0, 3), Segment(1000, 2))


def old_sparse(size: int, entries: list[tuple[int, int]]) -> bytes:
    """An old GNU sparse member whose data are the letters of the alphabet."""
    fields = [tars.octal(start, 12) + tars.octal(length, 12) for start, length in entries]
    more, total = fields[4:], sum(length for _, length in entries)
    area = b"".join(fields[:4]).ljust(96, b"\0") + bytes([bool(more)]) + tars.octal(size, 12)
    data = tars.header(b"s", total, b"S", magic=tars.GNU, prefix=bytes(41) + area[:114], tail=area[114:])
    while more:
        batch, more = more[:21], more[21:]
        data += (b"".join(batch).ljust(504, b"\0") + bytes([bool(more)])).ljust(512, b"\0")
    return data + tars.padded(bytes(range(97, 97 + total)))


def test_old_gnu_sparse_files() -> None:
    [(member, data)] = read(old_sparse(2000, [(0, 3), (1000, 2), (2000, 0)]) + tars.END)
    assert (member.size, member.stored, member.sparse, data) == (2000, 5, SPARSE, b"abcde")


def test_old_gnu_sparse_files_with_more_blocks() -> None:
    entries = [(at * 10, 1) for at in range(26)]
    [(member, data)] = read(old_sparse(300, entries) + tars.END)
    assert member.sparse == tuple(Segment(at, 1) for at, _ in entries)
    assert data == b"abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("form", ["0.0", "0.1", "1.0"])
def test_pax_sparse_files(form: str) -> None:
    body = b"abcde"
    if form == "0.0":
        pairs = [item for s in SPARSE for item in ((b"offset", s.offset), (b"numbytes", s.length))]
        records = [(b"path", b"real"), (b"GNU.sparse.size", b"2000"), (b"GNU.sparse.numblocks", b"2")]
        records += [(b"GNU.sparse." + key, b"%d" % value) for key, value in pairs]
    elif form == "0.1":
        records = [(b"GNU.sparse.name", b"real"), (b"GNU.sparse.size", b"2000"), (b"GNU.sparse.numblocks", b"2")]
        records += [(b"GNU.sparse.map", b"0,3,1000,2")]
    else:
        records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"real")]
        records += [(b"GNU.sparse.realsize", b"2000")]
        body = tars.padded(b"2\n0\n3\n1000\n2\n") + body
    [(member, data)] = read(tars.pax(*records) + tars.member(b"GNUSparseFile.1/real", body) + tars.END)
    assert (member.path, member.size, member.stored) == (b"real", 2000, 5)
    assert (member.sparse, data) == (SPARSE, b"abcde")


def test_sparse_files_expand() -> None:
    assert b"".join(expand(SPARSE, 1005, [b"ab", b"cde"])) == b"abc" + bytes(997) + b"de" + bytes(3)
    with pytest.raises(TarCorrupt):
        list(expand(SPARSE, 1005, [b"abcd"]))
