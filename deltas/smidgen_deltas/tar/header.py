"""One 512-byte tar header: v7, ustar (POSIX.1-2017 pax "ustar Interchange Format"), GNU, star.

Rules enforced here
 * the checksum is right, signed or unsigned (both are in use, and every reader takes both)
 * numbers are octal between blanks, or base-256 as GNU writes them; never negative but for times
 * a prefix counts only where the magic says that there is one
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smidgen_deltas.kernels.tarblocks import checksum
from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt

BLOCK: Final = 512
ZEROS: Final = bytes(BLOCK)
CHECKSUM: Final = slice(148, 156)
MAX_NUMBER: Final = (1 << 63) - 1
_LAYOUT: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_STAR_TRAILER: Final = b"tar\0"
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \0]*")


class Dialect(StrEnum):
    V7 = "v7"
    USTAR = "ustar"
    STAR = "star"
    GNU = "gnu"


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of one block, numbers decoded, names without their NUL padding, `name` with its prefix."""

    offset: int
    block: bytes
    dialect: Dialect
    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    typeflag: bytes
    linkname: bytes
    uname: bytes
    gname: bytes
    devmajor: int
    devminor: int


def parse_header(block: bytes, offset: int) -> Header:
    """Read a header block that is not all zeros. Raises TarCorrupt, TarAmbiguous with `offset`."""
    (name, mode, uid, gid, size, mtime, checksum, typeflag, linkname, magic, uname, gname, major, minor, prefix) = (
        _LAYOUT.unpack(block)
    )
    _check_sum(block, number(checksum, "checksum", offset), offset)
    dialect = _dialect(magic, block)
    if dialect is Dialect.V7:
        uname = gname = b""
    device = typeflag in b"34" and dialect is not Dialect.V7
    return Header(
        offset=offset,
        block=block,
        dialect=dialect,
        name=_prefixed(dialect, prefix, _text(name), block, offset),
        mode=number(mode, "mode", offset),
        uid=number(uid, "uid", offset),
        gid=number(gid, "gid", offset),
        size=number(size, "size", offset),
        mtime=number(mtime, "mtime", offset, low=-MAX_NUMBER),
        typeflag=typeflag,
        linkname=_text(linkname),
        uname=_text(uname),
        gname=_text(gname),
        devmajor=number(major, "devmajor", offset) if device else 0,
        devminor=number(minor, "devminor", offset) if device else 0,
    )


def number(field: bytes, what: str, offset: int, *, low: int = 0) -> int:
    """Decode a numeric field: octal, or base-256 (first bit set; two's complement of the rest)."""
    octal = _OCTAL.fullmatch(field)
    if octal:
        return int(octal[1] or b"0", 8)
    first = field[0]
    if first not in (0x80, 0xFF):
        raise TarCorrupt("tar header has a malformed number", offset=offset, field=what, found=field.hex())
    value = int.from_bytes(field[1:], "big")
    if first == 0xFF:
        value -= 1 << 8 * (len(field) - 1)
    if not low <= value <= MAX_NUMBER:
        raise TarCorrupt("tar header has a number out of range", offset=offset, field=what, found=field.hex())
    return value


def _check_sum(block: bytes, found: int, offset: int) -> None:
    unsigned = checksum(block)
    if found == unsigned:
        return
    high = sum(byte > 0x7F for byte in block) - sum(byte > 0x7F for byte in block[CHECKSUM])
    if found != unsigned - 256 * high:
        raise TarCorrupt("tar header checksum is wrong", offset=offset, expected=unsigned, found=found)


def _dialect(magic: bytes, block: bytes) -> Dialect:
    if magic == b"ustar  \0":
        return Dialect.GNU
    if magic[:6] == b"ustar\0":
        return Dialect.STAR if block.endswith(_STAR_TRAILER) else Dialect.USTAR
    return Dialect.V7


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _prefixed(dialect: Dialect, prefix: bytes, name: bytes, block: bytes, offset: int) -> bytes:
    if dialect is Dialect.USTAR:
        before = _text(prefix)
    elif dialect is Dialect.STAR:
        if prefix[130]:  # star's prefix has 131 bytes, then come times; without a NUL readers take 155
            raise TarAmbiguous("star header with an unterminated prefix", offset=offset)
        before = _text(prefix)
    else:
        if dialect is Dialect.V7 and block[257:262] == b"ustar":
            raise TarAmbiguous("tar header with an unknown magic", offset=offset, found=block[257:265].hex())
        return name
    return before + b"/" + name if before else name
