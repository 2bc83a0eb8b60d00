"""Archives that are damaged or made to be read in two ways: each is refused with its own error and offset."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import pytest

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit, TarUnsupported
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.reader import TarReader
from support import tars

GOOD = tars.member(b"good", b"x")  # 1024 bytes in front of what is bad
FILE = tars.header(b"f")
LINK = tars.header(b"l", typeflag=b"2", linkname=b"t")


def sparse(*records: tuple[bytes, bytes], body: bytes = b"abcde") -> bytes:
    return tars.pax((b"GNU.sparse.size", b"100"), *records) + tars.member(b"s", body)


def sparse1(text: bytes, data: bytes = b"abcde", size: bytes = b"100") -> bytes:
    records = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", size))
    return tars.pax(*records) + tars.member(b"s", tars.padded(text) + data)


CASES: list[tuple[str, bytes, type[SmidgenError], int | None]] = [
    # damage
    ("header cut short", FILE[:100], TarCorrupt, 1124),
    ("content cut short", tars.member(b"f", b"x" * 600)[:800], TarCorrupt, 1824),
    ("padding cut short", tars.member(b"f", b"x" * 600)[:1200], TarCorrupt, 2224),
    ("extension cut short", tars.pax((b"path", b"p"))[:520], TarCorrupt, 1544),
    ("extension without member", tars.pax((b"path", b"p")) + tars.END, TarCorrupt, 3072),
    ("long name without member", tars.long_name(b"n"), TarCorrupt, 2048),
    ("wrong checksum", tars.header(checksum=b"000000\0 "), TarCorrupt, 1024),
    ("no tar at all", b"PK\3\4".ljust(512, b"z"), TarCorrupt, 1024),
    ("no name", tars.header(b""), TarCorrupt, 1024),
    ("link to nothing", tars.header(b"l", typeflag=b"2"), TarCorrupt, 1024),
    # numbers
    ("letters in size", tars.header(size=b"00000zz0000\0"), TarCorrupt, 1024),
    ("two numbers in size", tars.header(size=b"1 1\0\0\0\0\0\0\0\0\0"), TarCorrupt, 1024),
    ("number after NUL", tars.header(size=b"0\x0077\0\0\0\0\0\0\0\0"), TarCorrupt, 1024),
    ("sign in size", tars.header(size=b"-0000000001\0"), TarCorrupt, 1024),
    ("negative size", tars.header(size=tars.base256(-1, 12)), TarCorrupt, 1024),
    ("negative owner", tars.header(uid=tars.base256(-1, 8)), TarCorrupt, 1024),
    ("size beyond 63 bits", tars.header(size=tars.base256(1 << 63, 12)), TarCorrupt, 1024),
    ("size over the limit", tars.header(size=tars.base256(1 << 51, 12)), TarLimit, 1024),
    ("undefined base-256 prefix", tars.header(size=b"\xc0" + bytes(11)), TarCorrupt, 1024),
    # two readings of the structure
    ("single zero block", bytes(512) + FILE, TarAmbiguous, 1536),
    ("link with content", tars.member(b"l", b"body", b"2", linkname=b"t"), TarAmbiguous, 1024),
    ("hard link with content", tars.member(b"l", b"body", b"1", linkname=b"t"), TarAmbiguous, 1024),
    ("directory with content", tars.member(b"d", b"body", b"5"), TarAmbiguous, 1024),
    ("fifo with a pax size", tars.pax((b"size", b"512")) + tars.header(b"p", typeflag=b"6"), TarAmbiguous, 2048),
    ("file named like a directory", tars.header(b"d/"), TarAmbiguous, 1024),
    ("old directory with content", tars.member(b"d/", b"x", b"\0", magic=tars.V7), TarAmbiguous, 1024),
    ("unknown magic with ustar", tars.header(magic=b"ustar123"), TarAmbiguous, 1024),
    ("endless star prefix", tars.header(prefix=b"p" * 155, tail=b"\0" * 8 + b"tar\0"), TarAmbiguous, 1024),
    ("pax before a long name", tars.pax((b"size", b"0")) + tars.long_name(b"n") + FILE, TarAmbiguous, 2048),
    ("pax after a long name", tars.long_name(b"n") + tars.pax((b"path", b"p")) + FILE, TarAmbiguous, 2048),
    ("two pax headers", tars.pax((b"path", b"p")) * 2 + FILE, TarAmbiguous, 2048),
    ("two long names", tars.long_name(b"n") * 2 + FILE, TarAmbiguous, 2048),
    ("global between headers", tars.pax((b"path", b"p")) + tars.pax(typeflag=b"g") + FILE, TarAmbiguous, 2048),
    ("global path", tars.pax((b"path", b"p"), typeflag=b"g") + FILE, TarAmbiguous, 1536),
    ("global size", tars.pax((b"size", b"512"), typeflag=b"g") + FILE, TarAmbiguous, 1536),
    ("global owner", tars.pax((b"uid", b"0"), typeflag=b"g") + FILE, TarAmbiguous, 1536),
    ("global sparse map", tars.pax((b"GNU.sparse.map", b"0,1"), typeflag=b"g") + FILE, TarAmbiguous, 1536),
    ("global attribute", tars.pax((b"SCHILY.xattr.user.a", b"1"), typeflag=b"g") + FILE, TarAmbiguous, 1536),
    ("bytes after a long name", tars.member(b"L", b"n\0hidden", b"L", magic=tars.GNU) + FILE, TarCorrupt, 1536),
    ("empty long name", tars.member(b"L", b"\0", b"L", magic=tars.GNU) + FILE, TarCorrupt, 1536),
    ("device with two numbers", tars.pax((b"SCHILY.devmajor", b"9")) + tars.header(typeflag=b"3"), TarAmbiguous, 2048),
    # pax records
    ("record too long", tars.pax(raw=b"99 path=p\n") + FILE, TarCorrupt, 1536),
    ("record too short", tars.pax(raw=b"5 path=p\n") + FILE, TarCorrupt, 1536),
    ("record without newline", tars.pax(raw=b"9 path=pp") + FILE, TarCorrupt, 1536),
    ("record with leading zero", tars.pax(raw=b"010 path=p\n") + FILE, TarCorrupt, 1536),
    ("record with a sign", tars.pax(raw=b"+9 path=p\n") + FILE, TarCorrupt, 1536),
    ("record of length zero", tars.pax(raw=b"0 path=p\n") + FILE, TarCorrupt, 1536),
    ("record without key", tars.pax(raw=b"5 =p\n\n") + FILE, TarCorrupt, 1536),
    ("record without equals", tars.pax(raw=b"7 path\n") + FILE, TarCorrupt, 1536),
    ("padding within the records", tars.pax(raw=b"10 path=p\n\0\0") + FILE, TarCorrupt, 1546),
    ("record twice", tars.pax((b"size", b"1"), (b"size", b"2")) + FILE, TarAmbiguous, 1545),
    ("empty path", tars.pax((b"path", b"")) + FILE, TarAmbiguous, 1536),
    ("NUL in path", tars.pax((b"path", b"a\0b")) + FILE, TarAmbiguous, 1536),
    ("NUL in link target", tars.pax((b"linkpath", b"a\0b")) + LINK, TarAmbiguous, 1536),
    ("negative pax size", tars.pax((b"size", b"-1")) + FILE, TarCorrupt, 2048),
    ("fractional pax size", tars.pax((b"size", b"1.0")) + FILE, TarCorrupt, 2048),
    ("hexadecimal pax size", tars.pax((b"size", b"0x10")) + FILE, TarCorrupt, 2048),
    ("huge pax size", tars.pax((b"size", b"9" * 19)) + FILE, TarLimit, 2048),
    ("pax time of nonsense", tars.pax((b"mtime", b"nan")) + FILE, TarCorrupt, 2048),
    ("unknown character set", tars.pax((b"hdrcharset", b"KOI8-R")) + FILE, TarAmbiguous, 1536),
    ("attribute without name", tars.pax((b"SCHILY.xattr.", b"1")) + FILE, TarCorrupt, 2048),
    (
        "attribute with two values",
        tars.pax((b"SCHILY.xattr.a", b"1"), (b"LIBARCHIVE.xattr.a", b"Mg")) + FILE,
        TarAmbiguous,
        2048,
    ),
    ("attribute that is not base64", tars.pax((b"LIBARCHIVE.xattr.a", b"!!")) + FILE, TarCorrupt, 2048),
    ("quoted attribute name", tars.pax((b"SCHILY.xattr.user.a%3Db", b"1")) + FILE, TarAmbiguous, 2048),
    # sizes
    ("huge extension", tars.header(size=2 << 20, typeflag=b"x"), TarLimit, 1024),
    ("huge long name", tars.header(size=5000, typeflag=b"L", magic=tars.GNU), TarLimit, 1024),
    ("long pax path", tars.pax((b"path", b"p" * 5000)) + FILE, TarLimit, None),
    ("large attribute", tars.pax((b"SCHILY.xattr.user.a", b"v" * 70000)) + FILE, TarLimit, None),
    ("long attribute name", tars.pax((b"SCHILY.xattr." + b"n" * 256, b"v")) + FILE, TarLimit, 2048),
    # kinds
    ("multi-volume", tars.header(typeflag=b"M", magic=tars.GNU), TarUnsupported, 1024),
    ("dump directory", tars.member(b"d", b"Yx\0", b"D", magic=tars.GNU), TarUnsupported, 1024),
    ("vendor type", tars.header(typeflag=b"Q"), TarUnsupported, 1024),
    ("Solaris pax", tars.header(typeflag=b"X"), TarUnsupported, 1024),
    ("star sparse", tars.pax((b"SCHILY.realsize", b"9")) + FILE, TarUnsupported, 2048),
    ("Solaris sparse", tars.pax((b"SUN.holesdata", b" 0 9")) + FILE, TarUnsupported, 2048),
    # sparse maps
    ("segments overlap", sparse((b"GNU.sparse.map", b"0,3,2,2")), TarCorrupt, 1024),
    ("segments out of order", sparse((b"GNU.sparse.map", b"50,3,2,2")), TarCorrupt, 1024),
    ("segment beyond the file", sparse((b"GNU.sparse.map", b"0,3,99,2")), TarCorrupt, 1024),
    ("map says less than stored", sparse((b"GNU.sparse.map", b"0,3")), TarCorrupt, 1024),
    ("map says more than stored", sparse((b"GNU.sparse.map", b"0,30")), TarCorrupt, 1024),
    ("odd map", sparse((b"GNU.sparse.map", b"0,3,5")), TarCorrupt, 1024),
    ("map of nonsense", sparse((b"GNU.sparse.map", b"0,x")), TarCorrupt, 1024),
    (
        "wrong number of segments",
        sparse((b"GNU.sparse.map", b"0,5"), (b"GNU.sparse.numblocks", b"2")),
        TarCorrupt,
        1024,
    ),
    (
        "two maps",
        sparse((b"GNU.sparse.map", b"0,5"), (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"5")),
        TarCorrupt,
        1024,
    ),
    ("no real size", tars.pax((b"GNU.sparse.map", b"0,5")) + tars.member(b"s", b"abcde"), TarCorrupt, 1024),
    ("two real sizes", sparse((b"GNU.sparse.realsize", b"50"), (b"GNU.sparse.map", b"0,5")), TarCorrupt, 1024),
    ("unknown version", sparse((b"GNU.sparse.major", b"2")), TarUnsupported, 1024),
    ("sparse directory", tars.pax((b"GNU.sparse.size", b"1")) + tars.header(b"d", typeflag=b"5"), TarAmbiguous, 1024),
    ("map in two places", sparse((b"GNU.sparse.major", b"1"), (b"GNU.sparse.map", b"0,5")), TarAmbiguous, 1024),
    ("map without end", sparse1(b"9\n0\n5\n"), TarCorrupt, None),
    ("map goes on", sparse1(b"1\n0\n5\n7\n"), TarCorrupt, None),
    ("map with bytes behind", sparse1(b"1\n0\n5\nx"), TarCorrupt, None),
    ("map of letters", sparse1(b"one\n"), TarCorrupt, None),
    ("map without newline", sparse1(b"1" * 400), TarCorrupt, None),
    ("map of too many segments", sparse1(b"999999999\n"), TarLimit, None),
    ("huge sparse file", sparse1(b"1\n0\n5\n", size=b"9" * 18), TarLimit, 1024),
    ("sparse twice", tars.pax((b"size", b"1")) + tars.header(typeflag=b"S", magic=tars.GNU), TarAmbiguous, 2048),
    ("sparse of another dialect", tars.header(typeflag=b"S"), TarAmbiguous, 1024),
    ("empty map that goes on", tars.header(typeflag=b"S", magic=tars.GNU, prefix=bytes(137) + b"\1"), TarCorrupt, 1024),
]


@pytest.mark.parametrize(("data", "error", "offset"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_is_refused(data: bytes, error: type[SmidgenError], offset: int | None) -> None:
    with pytest.raises(SmidgenError) as caught:
        for member in TarReader(tars.blocks(GOOD + data, 512)):
            for _ in member.chunks():
                pass
    assert type(caught.value) is error
    assert "offset" in caught.value.detail
    if offset is not None:
        assert caught.value.detail["offset"] == offset


def endless(start: bytes) -> Iterator[bytes]:
    yield start
    yield from repeat(b"z" * 4096, 20_000)


@pytest.mark.parametrize(
    ("start", "limits"),
    [
        (tars.END, Limits(trailer=1 << 20)),
        (tars.header(size=1 << 30, typeflag=b"x"), Limits()),
        (tars.header(b"f") * 11, Limits(headers=10)),
        (tars.pax(typeflag=b"g") * 11, Limits(headers=10)),
    ],
)
def test_endless_input_is_given_up_early(start: bytes, limits: Limits) -> None:
    reader = TarReader(endless(start), limits=limits)
    with pytest.raises(TarLimit):
        list(reader)
    assert reader.offset < 2 << 20


def test_old_sparse_map_blocks_are_bounded() -> None:
    first = tars.header(typeflag=b"S", magic=tars.GNU, prefix=bytes(41) + tars.octal(0, 12) * 8 + b"\1")
    block = (tars.octal(0, 12) * 42 + b"\1").ljust(512, b"\0")
    reader = TarReader(iter([first, *repeat(block, 10_000)]), limits=Limits(segments=1000))
    with pytest.raises(TarLimit):
        list(reader)
    assert reader.offset < 64 * 512
