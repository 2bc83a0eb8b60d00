"""The quick codecs of dirtrees and file headers against the generic one: same bytes, same values, same refusals."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.filez import HEADER as FILEZ
from smidgen_deltas.ostree.filez import encode_filez_header, read_filez_header
from smidgen_deltas.ostree.gvariant import NotNormal
from smidgen_deltas.ostree.header import decode_tail, encode_tail
from smidgen_deltas.ostree.listing import ListingInvalid, decode_listing, encode_listing
from smidgen_deltas.ostree.objects import DIRTREE, HEADER, FileHeader, swap32, swap64

NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.integers(215, 260).map("n".__mul__),  # around the size where framing offsets become two bytes wide
)
CHECKSUMS = st.binary(min_size=32, max_size=32) | st.just(bytes(32))
FILES = st.lists(st.tuples(NAMES, CHECKSUMS), max_size=9).map(tuple)
FOLDERS = st.lists(st.tuples(NAMES, CHECKSUMS, CHECKSUMS), max_size=9).map(tuple)
XATTRS = st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9) | st.just(bytes(1100))), max_size=3).map(tuple)
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 12), st.sampled_from(["set", "cut", "add"]), st.integers(0, 255)), max_size=3
)


def damaged(data: bytes, edits: list[tuple[int, str, int]]) -> bytes:
    out = bytearray(data)
    for place, edit, value in edits:
        at = place % (len(out) + 1)
        if edit == "set" and at < len(out):
            out[at] = value
        elif edit == "cut":
            del out[at:]
        else:
            out.insert(at, value)
    return bytes(out)


def generic(signature: str, data: bytes) -> Any:
    try:
        return gvariant.decode(signature, data)
    except NotNormal:
        return None


@given(FILES, FOLDERS)
def test_listings_have_the_bytes_of_the_generic_codec(files: Any, folders: Any) -> None:
    data = encode_listing(files, folders)
    assert data == gvariant.encode(DIRTREE, (files, folders))
    assert decode_listing(data) == (files, folders)


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 8, 1800, 1900, 1950])
def test_listings_of_every_offset_width(count: int) -> None:
    files = tuple((f"{number:04}", bytes(32)) for number in range(count))
    folders = tuple((f"d{number:04}", bytes(32), bytes(32)) for number in range(count))
    for value in ((files, ()), ((), folders), (files, folders)):
        data = encode_listing(*value)
        assert data == gvariant.encode(DIRTREE, value)
        assert decode_listing(data) == value


@given(FILES, FOLDERS, EDITS)
def test_damaged_listings_are_refused_by_both_or_read_alike(files: Any, folders: Any, edits: Any) -> None:
    data = damaged(encode_listing(files, folders), edits)
    expected = generic(DIRTREE, data)
    try:
        found = decode_listing(data)
    except ListingInvalid:
        assert expected is None or any(len(one) != 32 for entries in expected for _, *rest in entries for one in rest)
        return
    except NotNormal:
        assert expected is None
        return
    assert found == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_a_listing_or_refused(data: bytes) -> None:
    try:
        found = decode_listing(data)
    except SmidgenError:
        return
    assert found == gvariant.decode(DIRTREE, data)
    assert encode_listing(*found) == data


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), NAMES, XATTRS, EDITS)
def test_headers_are_read_like_the_generic_codec_does(numbers: Any, target: str, xattrs: Any, edits: Any) -> None:
    packed = b"".join(number.to_bytes(4, "big") for number in numbers)
    whole = encode_tail(packed, target, xattrs)
    assert whole == gvariant.encode(HEADER, (*map(swap32, numbers), target, xattrs))
    data = damaged(whole, edits)
    expected = generic(HEADER, data)
    try:
        found = decode_tail(data, 16)
    except NotNormal:
        assert expected is None
        return
    assert found == expected[4:]


@given(st.integers(0, 2**64 - 1), NAMES, st.integers(0, 2**32 - 1))
def test_filez_headers_have_the_bytes_of_the_generic_codec(size: int, text: str, uid: int) -> None:
    header = FileHeader(uid, 7, 0o100644, ((b"user." + text.encode() + b"\0", b"v"),))
    data = encode_filez_header(header, size)
    numbers = (swap64(size), swap32(uid), swap32(7), swap32(0o100644), 0)
    assert data[8:] == gvariant.encode(FILEZ, (*numbers, "", header.xattrs))
    assert data[:8] == (len(data) - 8).to_bytes(4, "big") + bytes(4)
    assert read_filez_header(io.BytesIO(data)) == (header, size)


def test_an_entry_count_that_cannot_be_is_refused_before_room_is_made() -> None:
    array = bytes(300) + (300).to_bytes(4, "little") * 40_000
    with pytest.raises(ListingInvalid) as refused:
        decode_listing(array + len(array).to_bytes(4, "little"))
    assert "more entries" in refused.value.message
