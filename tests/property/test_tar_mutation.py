"""Mutated archives and recipes: a result or a typed error, never anything else, and never a hang."""

from __future__ import annotations

import contextlib
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.kernels.tarblocks import checksum
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.merge import merge
from smidgen_deltas.tar.pax import parse_records
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.recipe import Content, Literal, Piece, decode, encode, rebuild, split
from support import tars
from support.tar_bodies import Bodies

LIMITS = Limits(headers=1000, trailer=1 << 20)
SPARSE_1_0 = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"99999"))
OLD_SPARSE = bytes(41) + tars.octal(0, 12) + tars.octal(8, 12) + bytes(73) + tars.octal(100, 12)
MEMBERS = (
    tars.header(b"./", typeflag=b"5"),
    tars.member(b"plain", b"x" * 700),
    tars.pax((b"path", b"a/" * 60 + b"b"), (b"mtime", b"1.25"), (b"SCHILY.xattr.user.x", b"v"))
    + tars.member(b"short", b"y" * 30),
    tars.long_name(b"d/" * 80 + b"e") + tars.member(b"d", b"z", magic=tars.GNU),
    tars.header(b"plain-link", typeflag=b"1", linkname=b"plain"),
    tars.header(b"soft", typeflag=b"2", linkname=b"../../etc"),
    tars.pax(*SPARSE_1_0) + tars.member(b"sparse", tars.padded(b"2\n0\n3\n5000\n2\n") + b"abcde"),
    tars.member(b"old-sparse", b"12345678", b"S", magic=tars.GNU, prefix=OLD_SPARSE),
    tars.pax((b"comment", b"hello"), typeflag=b"g"),
    tars.header(b"null", typeflag=b"3", devmajor=1, devminor=3),
    tars.header(b".wh.gone"),
)
ARCHIVE = b"".join(MEMBERS) + tars.END


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Members shuffled, bytes changed, pieces cut out or doubled, and then often all checksums made right again."""
    parts = draw(st.lists(st.sampled_from(MEMBERS), max_size=6))
    data = bytearray(b"".join(parts) + draw(st.sampled_from((tars.END, b"", bytes(512), b"junk"))))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        action = draw(st.integers(0, 3))
        if action == 0:
            data[at] = draw(st.integers(0, 255))
        elif action == 1:
            data[at : at + 1] = draw(st.binary(max_size=20))
        elif action == 2:
            del data[at : at + draw(st.integers(1, 600))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 600))]
    if draw(st.booleans()):
        for start in range(0, len(data) - 511, 512):
            if data[start + 257 : start + 262] == b"ustar":
                block = bytes(data[start : start + 512])
                data[start + 148 : start + 156] = b"%06o\0 " % checksum(block)
    return bytes(data)


def distinct(pieces: tuple[Piece, ...]) -> list[Content]:
    return list(dict.fromkeys(piece for piece in pieces if isinstance(piece, Content)))


@given(mutated(), st.sampled_from((1, 100, 512, 1 << 18)))
@settings(max_examples=400, deadline=None)
def test_archives_are_read_rebuilt_and_merged_or_refused(data: bytes, block: int) -> None:
    bodies = Bodies()
    try:
        recipe = split(tars.blocks(data, block), bodies, LIMITS)
    except SmidgenError as error:
        assert error.detail
        return
    contents = distinct(recipe.pieces)
    again = decode(encode(recipe.pieces, contents.index), contents)
    assert b"".join(rebuild(again, lambda one: (bodies.kept[one.sha256],), recipe.diff_id)) == data
    with contextlib.suppress(SmidgenError):
        listed = list(entries(again, LIMITS))
        assert len(listed) == sum(1 for _ in TarReader(tars.blocks(data), limits=LIMITS))
        list(merge([listed, listed]).entries())


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_recipes_are_decoded_or_refused(data: st.DataObject) -> None:
    bodies = Bodies()
    recipe = split([ARCHIVE], bodies, LIMITS)
    contents = distinct(recipe.pieces)
    encoded = bytearray(encode(recipe.pieces, contents.index))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        if data.draw(st.booleans()):
            encoded[at] = data.draw(st.integers(0, 255))
        else:
            del encoded[at : at + data.draw(st.integers(1, 5))]
    try:
        found = decode(bytes(encoded), contents)
        if found.tar_size > 1 << 20:
            return
        size = sum(len(piece.data) if isinstance(piece, Literal) else piece.size for piece in found)
        assert size == found.tar_size
        list(entries(found, LIMITS))
    except SmidgenError:
        return


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=1500), st.integers(1, 2000), st.integers(1, 3000).map(bytes))))
@settings(max_examples=200, deadline=None)
def test_any_pieces_survive_encoding(parts: list[bytes | int]) -> None:
    """Recipes need not come from a tar: any run of literals and contents, aligned or not."""
    pieces: list[Piece] = []
    for part in parts:
        if isinstance(part, int):
            pieces.append(Content(part, hashlib.sha256(str(part).encode()).digest()))
        else:
            pieces.append(Literal(part))
    contents = distinct(tuple(pieces))
    decoded = decode(encode(pieces, contents.index), contents)
    assert flattened(list(decoded)) == flattened(pieces)
    assert [contents[index] for index in decoded.indexes()] == [one for one in pieces if isinstance(one, Content)]


def flattened(pieces: list[Piece]) -> list[bytes | Content]:
    result: list[bytes | Content] = []
    for piece in pieces:
        if isinstance(piece, Content):
            result.append(piece)
        elif result and isinstance(result[-1], bytes):
            result[-1] += piece.data
        else:
            result.append(piece.data)
    return result


@given(st.binary(max_size=200))
def test_pax_records_are_parsed_or_refused(body: bytes) -> None:
    with contextlib.suppress(SmidgenError):
        records = parse_records(body, 0)
        assert b"".join(tars.record(key, value) for key, value in records) == body


@given(st.dictionaries(st.binary(min_size=1).filter(lambda key: b"=" not in key), st.binary(min_size=1)))
def test_pax_records_come_back(records: dict[bytes, bytes]) -> None:
    body = b"".join(tars.record(key, value) for key, value in records.items())
    with contextlib.suppress(SmidgenError):
        assert dict(parse_records(body, 0)) == records
