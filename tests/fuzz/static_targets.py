"""Static deltas of ostree."""

from __future__ import annotations

from fuzz.target import Choices, target
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.static.bsdiff import apply_bsdiff
from smidgen_deltas.ostree.static.operations import Tables, decode_operations, encode_operations
from smidgen_deltas.ostree.static.part import open_part
from smidgen_deltas.ostree.static.signed import decode_signed, encode_signed
from smidgen_deltas.ostree.static.superblock import PartEntry, decode_superblock

KINDS = (ObjectType.COMMIT, ObjectType.DIRTREE, *[ObjectType.FILE] * 6)
OBJECTS = tuple(ObjectName(kind, bytes(31) + bytes((number,))) for number, kind in enumerate(KINDS))
LARGEST = 1 << 20


@target("static-superblock")
def superblock(data: bytes) -> None:
    found = decode_superblock(data)
    found.commitmeta()
    for number in range(len(found.parts)):
        found.inline_part(number)


@target("static-part")
def part(data: bytes) -> None:
    choices = Choices(data)
    usize, body = choices.number(LARGEST), choices.rest()
    open_part(body, PartEntry(bytes(32), len(body), usize, OBJECTS))


@target("static-operations")
def operations(data: bytes) -> None:
    found = decode_operations(data, OBJECTS, Tables(2, 2, 4000))
    again = decode_operations(encode_operations(one for _, one in found), OBJECTS, Tables(2, 2, 4000))
    assert again == found


@target("static-bsdiff")
def bsdiff(data: bytes) -> None:
    choices = Choices(data)
    size, old, stream = choices.number(0xFFFF), choices.part(), choices.rest()
    assert sum(len(block) for block in apply_bsdiff(memoryview(stream), old, size)) == size


@target("static-signed")
def signed(data: bytes) -> None:
    found = decode_signed(data)
    assert decode_signed(encode_signed(found.superblock, found.signatures)) == found
