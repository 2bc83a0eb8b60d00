"""Kernel images that carry a compressed kernel: x86 bzImage and EFI zboot. The payload is the one stream.

bzImage: payload_offset and payload_length of the setup header, protocol 2.08 and later (arch/x86/boot.rst).
EFI zboot: the header of drivers/firmware/efi/libstub/zboot-header.S ("zimg", offset, size, type).
The four bytes that the kernel's build appends to all payloads but gzip, the unpacked size, stay literal.
"""

from __future__ import annotations

from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers.base import RecipeInvalid
from smidgen_deltas.engine.unpackers.container import ContainerUnpacker
from smidgen_deltas.engine.unpackers.layout import LayoutBuilder

_GZIP: Final = b"\x1f\x8b"
_SIZE_FIELD: Final = 4
_PROTOCOL_WITH_PAYLOAD: Final = 0x0208


class BzImageUnpacker(ContainerUnpacker):
    """x86 kernel images."""

    name: ClassVar[str] = "bzimage"
    version: ClassVar[int] = 1

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[0x202:0x206]) == b"HdrS" and bytes(data[0x1FE:0x200]) == b"\x55\xaa"

    def cut(self, data: memoryview, builder: LayoutBuilder) -> None:
        if len(data) < 0x250 or _number(data, 0x206, 2) < _PROTOCOL_WITH_PAYLOAD:
            raise RecipeInvalid("bzImage without a payload field")
        setup = ((data[0x1F1] or 4) + 1) * 512
        _cut_payload(data, setup + _number(data, 0x248, 4), _number(data, 0x24C, 4), builder)

    def sample(self) -> tuple[bytes, int]:
        head = bytearray(0x400)
        head[0x1F1] = 1
        head[0x1FE:0x200] = b"\x55\xaa"
        head[0x202:0x208] = b"HdrS\x0f\x02"
        head[0x248:0x250] = (16).to_bytes(4, "little") + (24).to_bytes(4, "little")
        return bytes(head) + b"loader..........payload of 20 bytes.SIZErest", 1


class ZbootUnpacker(ContainerUnpacker):
    """EFI images that unpack themselves (arm64, riscv, loongarch)."""

    name: ClassVar[str] = "zboot"
    version: ClassVar[int] = 1

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:2]) == b"MZ" and bytes(data[4:8]) == b"zimg"

    def cut(self, data: memoryview, builder: LayoutBuilder) -> None:
        if len(data) < 64:
            raise RecipeInvalid("zboot image without a header")
        _cut_payload(data, _number(data, 8, 4), _number(data, 12, 4), builder)

    def sample(self) -> tuple[bytes, int]:
        head = b"MZ\0\0zimg" + (64).to_bytes(4, "little") + (20).to_bytes(4, "little") + bytes(48)
        return head + b"sixteen bytes...SIZErest", 1


def _number(data: memoryview, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _cut_payload(data: memoryview, start: int, size: int, builder: LayoutBuilder) -> None:
    if not _SIZE_FIELD < size <= len(data) - start:
        raise RecipeInvalid("kernel payload lies outside its image", start=start, size=size)
    appended = 0 if bytes(data[start : start + 2]) == _GZIP else _SIZE_FIELD
    builder.stream(start, size - appended)
