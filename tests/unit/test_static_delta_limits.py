"""The limits of released clients, at their edges."""

from __future__ import annotations

import lzma
import struct
import zlib

import pytest

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.static.limits import (
    MAX_PAYLOAD,
    MAX_SUPERBLOCK,
    PartTooLarge,
    check_payload,
    check_superblock,
    payload_bound,
)
from smidgen_deltas.ostree.static.part import PAYLOAD, PartInvalid, open_part
from smidgen_deltas.ostree.static.superblock import PartEntry


@pytest.mark.parametrize(
    ("usize", "objects", "bound"),
    [
        (0, 1, MAX_PAYLOAD),  # nothing declared: only the fixed bound
        (1, 0, 4097),
        (32, 0, 4129),
        (3200, 2, 3200 + 100 + 4096 + 2 * 65792),
        (MAX_PAYLOAD, 1, MAX_PAYLOAD),
        (MAX_PAYLOAD - 4096, 0, MAX_PAYLOAD),
        (1 << 48, 10_000, MAX_PAYLOAD),
    ],
)
def test_a_payload_may_be_as_long_as_2026_3_takes(usize: int, objects: int, bound: int) -> None:
    assert payload_bound(usize, objects) == bound
    check_payload(bound, usize, objects)
    with pytest.raises(PartTooLarge) as refused:
        check_payload(bound + 1, usize, objects)
    assert refused.value.detail == {"payload": bound + 1, "limit": bound, "objects": objects}


def test_a_superblock_may_be_as_long_as_old_clients_fetch() -> None:
    check_superblock(MAX_SUPERBLOCK)
    with pytest.raises(LimitExceeded):
        check_superblock(MAX_SUPERBLOCK + 1)


def with_dictionary(payload: bytes, size: int) -> bytes:
    """A part whose stream declares a dictionary of 2 << size or 3 << size bytes, without there being one."""
    stream = bytearray(lzma.compress(payload, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]))
    assert stream[12:16] == b"\x02\x00\x21\x01"  # a block header of 12 bytes with one filter: LZMA2
    stream[16] = size
    stream[20:24] = struct.pack("<I", zlib.crc32(stream[12:20]))
    return b"x" + bytes(stream)


def test_the_decoder_has_the_memory_that_stock_gives_it() -> None:
    payload = gvariant.encode(PAYLOAD, ((), (), b"", b""))
    largest, beyond = (with_dictionary(payload, size) for size in (29, 30))  # 96 and 128 MiB
    assert open_part(largest, PartEntry(bytes(32), len(largest), 0, ())).operations == ()
    with pytest.raises(PartInvalid) as refused:
        open_part(beyond, PartEntry(bytes(32), len(beyond), 0, ()))
    assert "emory" in refused.value.detail["reason"]
