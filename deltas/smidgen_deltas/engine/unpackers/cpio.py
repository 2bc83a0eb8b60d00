"""cpio archives in the newc form, one or several after another, and what follows them: initial ramdisks.

The kernel's form (Documentation/driver-api/early-userspace/buffer-format.rst): archives and compressed archives in any
order, each padded with zeros. Members are streams; headers, names and padding are literals; whatever follows the last
archive, a compressed one as a rule, is one more stream.
"""

from __future__ import annotations

from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers.base import RecipeInvalid
from smidgen_deltas.engine.unpackers.container import ContainerUnpacker
from smidgen_deltas.engine.unpackers.layout import LayoutBuilder

MAGICS: Final = (b"070701", b"070702")
HEADER_SIZE: Final = 110
TRAILER: Final = b"TRAILER!!!\0"
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class CpioUnpacker(ContainerUnpacker):
    """newc archives and initial ramdisks."""

    name: ClassVar[str] = "cpio"
    version: ClassVar[int] = 1

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:6]) in MAGICS

    def cut(self, data: memoryview, builder: LayoutBuilder) -> None:
        at = 0
        while at < len(data):
            if bytes(data[at : at + 6]) not in MAGICS:
                builder.stream(at, len(data) - at)
                return
            at = _next_segment(data, _cut_archive(data, at, builder))

    def sample(self) -> tuple[bytes, int]:
        members = _member(b"etc/", b"", mode=0o40755) + _member(b"etc/a", b"abcde") + _member(b"b", b"x" * 300)
        return members + _member(TRAILER[:-1], b"") + bytes(400) + _member(b"c", b"1") + _member(
            b"TRAILER!!!", b""
        ) + b"tail", 4


def _cut_archive(data: memoryview, start: int, builder: LayoutBuilder) -> int:
    """Cut one archive whose first member is at `start`; the offset behind its trailer."""
    at = start
    while True:
        if bytes(data[at : at + 6]) not in MAGICS or len(data) - at < HEADER_SIZE:
            raise RecipeInvalid("cpio archive ends early", offset=at)
        size, name_size = _field(data, at, 6), _field(data, at, 11)
        name_at = at + HEADER_SIZE
        # Offsets are aligned from the archive's start, which is itself aligned in any archive that the kernel takes.
        body = _align(name_at + name_size)
        if body + size > len(data):
            raise RecipeInvalid("cpio member is longer than its archive", offset=at)
        builder.stream(body, size)
        if not size and bytes(data[name_at : name_at + name_size]) == TRAILER:
            return min(body, len(data))
        at = _align(body + size)


def _field(data: memoryview, header: int, number: int) -> int:
    """One of the header's 13 hexadecimal numbers."""
    start = header + 6 + 8 * number
    digits = bytes(data[start : start + 8])
    if not _HEX.issuperset(digits):
        raise RecipeInvalid("cpio header is not hexadecimal", offset=start)
    return int(digits, 16)


def _align(offset: int) -> int:
    return (offset + 3) & ~3


def _next_segment(data: memoryview, at: int) -> int:
    """Skip padding."""
    step = 1 << 16
    while at < len(data):
        part = bytes(data[at : at + step])
        rest = part.lstrip(b"\0")
        at += len(part) - len(rest)
        if rest:
            break
    return at


def _member(name: bytes, body: bytes, *, mode: int = 0o100644) -> bytes:
    fields = (1, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0)
    header = MAGICS[0] + b"".join(b"%08X" % field for field in fields)
    padded = header + name + bytes(1 + -(len(header) + len(name) + 1) % 4)
    return padded + body + bytes(-len(body) % 4)
