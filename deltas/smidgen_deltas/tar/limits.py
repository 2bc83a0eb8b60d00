"""How much a tar may ask for. All are refused before anything of that size is held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one archive.

    Args:
        headers: header blocks with content, members and extension headers together.
        extension: bytes of one extension header's body (pax records) or one sparse map.
        name: bytes of a path or link target.
        segments: data segments of a sparse file.
        xattr: bytes of one extended attribute's value (Linux allows 65536).
        size: bytes of one member, stored or logical.
        trailer: bytes after the end-of-archive blocks.
    """

    headers: int = 4_000_000
    extension: int = 1 << 20
    name: int = 4096
    segments: int = 1 << 16
    xattr: int = 1 << 16
    size: int = 1 << 50
    trailer: int = 16 << 20


DEFAULT = Limits()
