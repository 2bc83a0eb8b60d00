"""Tars made byte by byte, so that a test can say exactly what is odd about one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

POSIX = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = bytes(8)
END = bytes(1024)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    if value >= 0:
        return b"\x80" + value.to_bytes(width - 1, "big")
    return b"\xff" + ((1 << 8 * (width - 1)) + value).to_bytes(width - 1, "big")


def header(name: bytes = b"file", size: int | bytes = 0, typeflag: bytes = b"0", **fields: bytes | int) -> bytes:
    """A header block. Fields: mode, uid, gid, mtime, linkname, magic, uname, gname, devmajor, devminor, prefix, tail,
    checksum. Integers are written in octal, bytes as they are.
    """

    def numeric(key: str, default: int, width: int) -> bytes:
        value = fields.get(key, default)
        return octal(value, width) if isinstance(value, int) else value.ljust(width, b"\0")

    def text(key: str, width: int) -> bytes:
        value = fields.get(key, b"")
        assert isinstance(value, bytes)
        return value.ljust(width, b"\0")

    magic = fields.get("magic", POSIX)
    assert isinstance(magic, bytes)
    start = name.ljust(100, b"\0") + numeric("mode", 0o644, 8) + numeric("uid", 0, 8) + numeric("gid", 0, 8)
    start += (octal(size, 12) if isinstance(size, int) else size) + numeric("mtime", 0, 12)
    end = typeflag + text("linkname", 100) + magic + text("uname", 32) + text("gname", 32)
    end += numeric("devmajor", 0, 8) + numeric("devminor", 0, 8) + text("prefix", 155) + text("tail", 12)
    block = start + b" " * 8 + end
    assert len(block) == 512, len(block)
    checksum = fields.get("checksum", b"%06o\0 " % sum(block))
    assert isinstance(checksum, bytes)
    return block[:148] + checksum + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", typeflag: bytes = b"0", **fields: bytes | int) -> bytes:
    """A header and its content."""
    return header(name, len(data), typeflag, **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record with its length."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], typeflag: bytes = b"x", raw: bytes | None = None) -> bytes:
    """A pax extended header with these records, or with `raw` as its body."""
    body = b"".join(record(key, value) for key, value in records) if raw is None else raw
    return member(b"PaxHeaders/x", body, typeflag)


def long_name(name: bytes, typeflag: bytes = b"L") -> bytes:
    """GNU's extension header for a long name (L) or link target (K)."""
    return member(b"././@LongLink", name + b"\0", typeflag, magic=GNU)


def blocks(data: bytes, size: int = 1 << 18) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def file_blocks(path: Path, size: int = 1 << 18) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(size):
            yield block


def joined(chunks: Iterable[bytes]) -> bytes:
    return b"".join(chunks)
