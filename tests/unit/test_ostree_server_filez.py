from __future__ import annotations

import stat
import zlib

import pytest

from smidgen_deltas.ostree.filez import encode_filez_header
from smidgen_deltas.ostree.objects import FileHeader
from smidgen_server.services.filez import EMPTY, filez_header

XATTRS = ((b"security.capability\0", b"\x01\x00\x00\x02" * 5), (b"security.selinux\0", b"system_u:object_r:bin_t:s0\0"))


LENGTHS = (*range(215, 240), 65500, 65515, 65530)  # around the widths of framing offsets


@pytest.mark.parametrize("size", [0, 1, 255, 1 << 40])
@pytest.mark.parametrize(
    "header",
    [
        FileHeader(0, 0, stat.S_IFREG | 0o644),
        FileHeader(1000, 5, stat.S_IFREG | 0o4755, XATTRS),
        FileHeader(0, 0, stat.S_IFLNK | 0o777, (), "../bin/tool"),
        *(FileHeader(0, 0, stat.S_IFLNK | 0o777, (), "x" * length) for length in LENGTHS),
        FileHeader(0, 0, stat.S_IFREG | 0o644, ((b"user.big\0", bytes(70_000)),)),
    ],
)
def test_spliced_header_is_the_encoded_one(header: FileHeader, size: int) -> None:
    assert filez_header(header.encode(), size) == encode_filez_header(header, size)


def test_empty_is_what_stock_writes() -> None:
    assert zlib.decompress(EMPTY, -15) == b""
