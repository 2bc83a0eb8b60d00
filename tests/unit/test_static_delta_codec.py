"""Static deltas: what stock ostree made is read and written back byte for byte; what is wrong is refused by name."""

from __future__ import annotations

import hashlib
import lzma
import random
from typing import Any

import pytest

from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, SizeMismatch, UnsupportedFeature
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import NotNormal, Variant
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.static.bsdiff import BsdiffInvalid, apply_bsdiff, make_bsdiff
from smidgen_deltas.ostree.static.operations import (
    Close,
    Metadata,
    NoSource,
    Open,
    Operation,
    OperationInvalid,
    Patch,
    Source,
    Tables,
    Whole,
    Write,
    decode_operations,
    encode_operations,
)
from smidgen_deltas.ostree.static.part import PAYLOAD, PartInvalid, check_part, open_part
from smidgen_deltas.ostree.static.signed import decode_signed, encode_signed, is_signed
from smidgen_deltas.ostree.static.stored import store_xz
from smidgen_deltas.ostree.static.superblock import (
    BYTE_ORDER,
    SIGNATURE,
    PartEntry,
    Superblock,
    SuperblockInvalid,
    decode_superblock,
)
from support.ostree import FIRST, SECOND, VECTORS

FILE = ObjectName(ObjectType.FILE, bytes(32))
TREE = ObjectName(ObjectType.DIRTREE, bytes(32))
ROOM = Tables(modes=1, xattrs=1, blob=100)
OPEN = Open(0, 0, 10)


def vector(name: str) -> bytes:
    data = (VECTORS / name).read_bytes()
    return decode_signed(data).superblock if is_signed(data) else data


NAMES = ["inline.delta", "inline-bigendian.delta", "inline-signed-ed25519.delta", "scratch-with-fallback.delta"]


@pytest.mark.parametrize("name", NAMES)
def test_superblocks_round_trip(name: str) -> None:
    data = vector(name)
    assert decode_superblock(data).encode() == data


def test_both_byte_orders_say_the_same() -> None:
    little, big = (decode_superblock(vector(name)) for name in NAMES[:2])
    assert little.parts == big.parts
    assert (little.name.source, little.name.target) == (FIRST, SECOND)


def test_a_missing_byte_order_is_guessed() -> None:
    for name in NAMES[:2]:
        fields = list(gvariant.decode(SIGNATURE, vector(name)))
        del fields[0][BYTE_ORDER]
        found = decode_superblock(gvariant.encode(SIGNATURE, tuple(fields)))
        assert found.parts == decode_superblock(vector(name)).parts


def test_signed_deltas_round_trip() -> None:
    data = (VECTORS / "inline-signed-ed25519.delta").read_bytes()
    found = decode_signed(data)
    assert [len(one) for one in found.signatures] == [64]
    assert encode_signed(found.superblock, found.signatures) == data


def test_fallbacks_are_read() -> None:
    (found,) = decode_superblock(vector("scratch-with-fallback.delta")).fallbacks
    assert (found.size, found.usize) == (52072, 1249000)


@pytest.mark.parametrize("name", NAMES)
def test_parts_round_trip(name: str) -> None:
    superblock = decode_superblock(vector(name))
    data = superblock.inline_part(0)
    assert data is not None
    check_part(data, superblock.parts[0], 0)
    part = open_part(data, superblock.parts[0])
    raw = gvariant.decode(PAYLOAD, lzma.decompress(data[1:]))
    assert encode_operations(operation for _, operation in part.operations) == raw[3]
    assert len({number for number, _ in part.operations}) == len(superblock.parts[0].objects)


def replaced(at: int, value: Any) -> bytes:
    fields = list(gvariant.decode(SIGNATURE, vector("inline.delta")))
    fields[at] = value
    return gvariant.encode(SIGNATURE, tuple(fields))


def with_part(at: int, value: Any) -> bytes:
    (entry,) = gvariant.decode(SIGNATURE, vector("inline.delta"))[6]
    return replaced(6, ((*entry[:at], value, *entry[at + 1 :]),))


WRONG = {
    "byte order": (replaced(0, {BYTE_ORDER: Variant("y", 0x41)}), SuperblockInvalid),
    "byte order's type": (replaced(0, {BYTE_ORDER: Variant("u", 0x6C)}), SuperblockInvalid),
    "from": (replaced(2, bytes(31)), SuperblockInvalid),
    "to": (replaced(3, bytes(33)), SuperblockInvalid),
    "another to": (replaced(3, bytes(32)), DigestMismatch),
    "before": (replaced(5, bytes(32)), SuperblockInvalid),
    "version": (with_part(0, 1), UnsupportedFeature),
    "part's digest": (with_part(1, bytes(31)), SuperblockInvalid),
    "part's size": (with_part(2, 1 << 40), LimitExceeded),
    "part's usize": (with_part(3, 1 << 60), LimitExceeded),
    "list of objects": (with_part(4, bytes(34)), SuperblockInvalid),
    "type of an object": (with_part(4, b"\7" + bytes(32)), SuperblockInvalid),
    "type of a fallback": (replaced(7, ((2, bytes(32), 1, 1),)), SuperblockInvalid),
    "name of a fallback": (replaced(7, ((1, bytes(3), 1, 1),)), SuperblockInvalid),
    "size of a fallback": (replaced(7, ((1, bytes(32), 1 << 60, 1),)), LimitExceeded),
    "cut off": (vector("inline.delta")[:-1], NotNormal),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_refused(field: str) -> None:
    data, error = WRONG[field]
    with pytest.raises(error) as refused:
        decode_superblock(data)
    assert refused.value.detail


def test_an_oversized_superblock_is_refused_unread() -> None:
    with pytest.raises(LimitExceeded):
        decode_superblock(vector("inline.delta"), limit=100)


def test_inline_members_of_another_type_are_refused() -> None:
    superblock = decode_superblock(vector("inline.delta"))
    name = superblock.name
    odd = Superblock(
        name,
        0,
        superblock.commit,
        superblock.parts,
        metadata={name.part(0): Variant("ay", b"x"), f"{name.folder}/commitmeta": Variant("ay", b"")},
    )
    with pytest.raises(SuperblockInvalid):
        odd.inline_part(0)
    with pytest.raises(SuperblockInvalid):
        odd.commitmeta()


# -- operations --------------------------------------------------------------------------------------------------------


def test_operations_round_trip() -> None:
    operations: list[Operation] = [
        Metadata(100, 0),
        Whole(0, 0, 100, 0),
        Source(68),
        OPEN,
        Write(4, 1 << 40),
        NoSource(),
        Write(6, 94),
        Close(),
        OPEN,
        Source(0),
        Patch(10, 90),
        Close(),
    ]
    found = decode_operations(encode_operations(operations), [TREE, FILE, FILE, FILE], ROOM)
    assert [operation for _, operation in found] == operations
    assert [number for number, _ in found][-1] == 3


BROKEN: dict[str, tuple[bytes, list[ObjectName]]] = {
    "unknown letter": (b"x", []),
    "more than listed": (encode_operations([Metadata(1, 0)]), []),
    "fewer than listed": (b"", [FILE]),
    "ends in a number": (b"S\x80", [TREE]),
    "number too long": (b"S" + b"\xff" * 11, [TREE]),
    "splice leaves the data": (encode_operations([Metadata(101, 0)]), [TREE]),
    "offset leaves the data": (encode_operations([Whole(0, 0, 1, 100)]), [FILE]),
    "mode not in the table": (encode_operations([Whole(1, 0, 1, 0)]), [FILE]),
    "xattrs not in the table": (encode_operations([Whole(0, 1, 1, 0)]), [FILE]),
    "opened dirtree": (encode_operations([OPEN]), [TREE]),
    "object in an object": (encode_operations([OPEN, OPEN]), [FILE, FILE]),
    "left open": (encode_operations([OPEN, Write(10, 0)]), [FILE]),
    "too small": (encode_operations([OPEN, Write(9, 0), Close()]), [FILE]),
    "too large": (encode_operations([OPEN, Write(11, 0), Close()]), [FILE]),
    "write outside": (encode_operations([Write(1, 0)]), []),
    "write leaves the data": (encode_operations([OPEN, Write(10, 91)]), [FILE]),
    "close outside": (encode_operations([Close()]), []),
    "source leaves the data": (encode_operations([Source(69)]), []),
    "patch without source": (encode_operations([OPEN, Patch(0, 10)]), [FILE]),
    "patch leaves the data": (encode_operations([OPEN, Source(0), Patch(0, 101)]), [FILE]),
    "patch after write": (encode_operations([OPEN, Source(0), Write(1, 0), Patch(0, 50)]), [FILE]),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_refused(rule: str) -> None:
    data, objects = BROKEN[rule]
    with pytest.raises(OperationInvalid) as refused:
        decode_operations(data, objects, ROOM)
    assert "at" in refused.value.detail


# -- parts -------------------------------------------------------------------------------------------------------------


def entry_of(data: bytes, usize: int = 100) -> PartEntry:
    return PartEntry(hashlib.sha256(data).digest(), len(data), usize, ())


EMPTY = gvariant.encode(PAYLOAD, ((), (), b"", b""))


def test_a_part_is_compared_before_it_is_unpacked() -> None:
    data = b"x" + lzma.compress(EMPTY)
    check_part(data, entry_of(data), 0)
    with pytest.raises(SizeMismatch):
        check_part(data + b"?", entry_of(data), 0)
    with pytest.raises(DigestMismatch):
        check_part(data[:-1] + b"?", entry_of(data), 0)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", PartInvalid),
        (b"x", PartInvalid),
        (b"\0", PartInvalid),
        (b"g" + EMPTY, UnsupportedFeature),
        (b"x" + lzma.compress(EMPTY)[:-1], PartInvalid),
        (b"x" + lzma.compress(EMPTY) + b"?", PartInvalid),
        (b"x" + lzma.compress(EMPTY) + lzma.compress(EMPTY), PartInvalid),
        (b"x" + lzma.compress(EMPTY, lzma.FORMAT_ALONE), PartInvalid),
        (b"x" + lzma.compress(bytes(70 << 20), preset=0), LimitExceeded),
        (b"\0\xff\xff\xff\xff", NotNormal),
        (b"\0" + gvariant.encode(PAYLOAD, ((), (((b"a", b""),),), b"", b"")), FormatError),
    ],
)
def test_a_part_that_is_none_is_refused(data: bytes, error: type[FormatError]) -> None:
    with pytest.raises(error):
        open_part(data, entry_of(data))


@pytest.mark.parametrize("size", [0, 1, 3, 65535, 65536, 65537, 200_001])
def test_stored_xz_streams_are_what_liblzma_reads(size: int) -> None:
    data = random.Random(size).randbytes(size)
    stream = b"".join(store_xz([data[: size // 3], memoryview(data)[size // 3 :]]))
    assert lzma.decompress(stream) == data
    assert len(stream) <= size + 100


# -- bsdiff ------------------------------------------------------------------------------------------------------------


def test_bsdiff_streams_round_trip() -> None:
    old = random.Random(1).randbytes(5000)
    new = old[3000:4000] + b"new bytes" + old[:2500] + b"!" + old[100:200]
    blocks = [(0, 3000, 1000), (1009, 0, 2500), (3510, 100, 100)]
    stream = b"".join(make_bsdiff(old, new, blocks))
    assert b"".join(apply_bsdiff(memoryview(stream), old, len(new))) == new


def numbers(*values: int) -> bytes:
    return b"".join((abs(value) | (1 << 63 if value < 0 else 0)).to_bytes(8, "little") for value in values)


def test_what_lies_beyond_the_source_counts_as_zero() -> None:
    stream = numbers(0, 0, -2) + numbers(6, 1, 0) + b"\1\1\1\1\1\1" + b"z"
    assert b"".join(apply_bsdiff(memoryview(stream), b"ab", 7)) == b"\1\1bc\1\1z"


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        numbers(4, 0, 0),
        numbers(5, 0, 0) + bytes(5),
        numbers(0, -1, 0),
        numbers(4, 0, 0) + bytes(5),
        numbers(0, 0, (1 << 63) - 1) + numbers(4, 0, 0) + bytes(4),
    ],
)
def test_a_bsdiff_stream_that_does_not_fit_is_refused(stream: bytes) -> None:
    with pytest.raises(BsdiffInvalid):
        b"".join(apply_bsdiff(memoryview(stream), b"abcd", 4))
