"""Members of layers as bytes, always the same for the same input: GNU headers, pax records where those do not do."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smidgen_deltas.kernels.tarblocks import checksum
from smidgen_deltas.ostree.objects import DirMeta, FileHeader
from smidgen_deltas.tar.header import BLOCK, CHECKSUM
from smidgen_deltas.tar.pax import SCHILY_XATTR

END: Final = bytes(2 * BLOCK)
FILE: Final = b"0"
LINK: Final = b"1"
SYMLINK: Final = b"2"
FOLDER: Final = b"5"
_PAX: Final = b"x"
_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_NAME: Final = 100
_SELINUX: Final = b"security.selinux\0"


def folder(path: str, meta: DirMeta) -> bytes:
    """A directory with owner and mode of `meta`."""
    return member(path, FOLDER, meta.uid, meta.gid, stat.S_IMODE(meta.mode))


def plain_folder(path: str, mode: int = 0o755) -> bytes:
    """A directory of root's."""
    return member(path, FOLDER, 0, 0, mode)


def small_file(path: str, body: bytes) -> bytes:
    """A file of root's, 0644, whole."""
    return member(path, FILE, 0, 0, 0o644, size=len(body)) + body + bytes(-len(body) % BLOCK)


def file_member(path: str, header: FileHeader, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A file object as a regular file or symlink; its xattrs in pax records, for those who run the image.

    security.selinux is left out, as runtimes label files themselves.
    """
    kind = SYMLINK if header.is_symlink else FILE
    records = [(SCHILY_XATTR + name[:-1], value) for name, value in header.xattrs if name != _SELINUX]
    mode = stat.S_IMODE(header.mode)
    yield member(path, kind, header.uid, header.gid, mode, size=size, target=header.target, records=records)
    yield from chunks
    if size % BLOCK:
        yield bytes(-size % BLOCK)


def hard_link(path: str, header: FileHeader, target: str) -> bytes:
    """Another name of the member at `target`."""
    return member(path, LINK, header.uid, header.gid, stat.S_IMODE(header.mode), target=target)


def member(
    path: str,
    kind: bytes,
    uid: int,
    gid: int,
    mode: int,
    *,
    size: int = 0,
    target: str = "",
    records: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """All headers of a member. Times are zero, owners numbers only."""
    name, link = path.encode() + (b"/" if kind == FOLDER else b""), target.encode()
    extended = list(records)
    if len(name) > _NAME:
        extended.append((b"path", name))
    if len(link) > _NAME:
        extended.append((b"linkpath", link))
    before = b""
    if extended:
        body = b"".join(_record(key, value) for key, value in extended)
        before = _block(b"pax", _PAX, 0, 0, 0o644, len(body), b"") + body + bytes(-len(body) % BLOCK)
    return before + _block(name[:_NAME], kind, uid, gid, mode, size, link[:_NAME])


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value\\n`, where the length counts itself."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%b" % (length, rest)


def _block(name: bytes, kind: bytes, uid: int, gid: int, mode: int, size: int, link: bytes) -> bytes:
    numbers = (_number(mode, 8), _number(uid, 8), _number(gid, 8), _number(size, 12), _number(0, 12))
    zero = _number(0, 8)
    block = bytearray(_HEADER.pack(name, *numbers, b" " * 8, kind, link, b"ustar  \0", b"", b"", zero, zero, b""))
    block[CHECKSUM] = b"%06o\0 " % checksum(bytes(block))
    return bytes(block)


def _number(value: int, width: int) -> bytes:
    """Octal, or base-256 where that is too small."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")
