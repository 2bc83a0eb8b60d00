"""ar archives: static libraries and Debian packages. Every member is a stream."""

from __future__ import annotations

from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers.base import RecipeInvalid
from smidgen_deltas.engine.unpackers.container import ContainerUnpacker
from smidgen_deltas.engine.unpackers.layout import LayoutBuilder

MAGIC: Final = b"!<arch>\n"
HEADER_SIZE: Final = 60
_END: Final = b"`\n"


class ArUnpacker(ContainerUnpacker):
    """Common ar format; GNU and BSD names both are literals or part of the member."""

    name: ClassVar[str] = "ar"
    version: ClassVar[int] = 1

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:8]) == MAGIC

    def cut(self, data: memoryview, builder: LayoutBuilder) -> None:
        at = len(MAGIC)
        while at < len(data):
            header = bytes(data[at : at + HEADER_SIZE])
            digits = header[48:58].rstrip(b" ")
            if len(header) < HEADER_SIZE or header[58:] != _END or not digits.isdigit():
                raise RecipeInvalid("not an ar member header", offset=at)
            size = int(digits)
            if size > len(data) - at - HEADER_SIZE:
                raise RecipeInvalid("ar member is longer than its archive", offset=at)
            builder.stream(at + HEADER_SIZE, size)
            at += HEADER_SIZE + size + (size & 1)

    def sample(self) -> tuple[bytes, int]:
        return MAGIC + _member(b"debian-binary", b"2.0\n") + _member(b"odd", b"abc") + _member(b"empty", b""), 2


def _member(name: bytes, body: bytes) -> bytes:
    header = b"%-16s%-12d%-6d%-6d%-8o%-10d" % (name, 0, 0, 0, 0o100644, len(body))
    return header + _END + body + bytes(b"\n"[: len(body) & 1])
