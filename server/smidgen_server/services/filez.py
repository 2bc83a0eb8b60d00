"""The header of a `.filez`, made from the header that an object is stored with."""

from __future__ import annotations

import stat
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smidgen_server.index.content import Extent
    from smidgen_server.index.ostree import Servable

_PREFIX: Final = struct.Struct(">I4xQ")
_NUMBERS: Final = 16  # uid, gid, mode, rdev
EMPTY: Final = b"\x03\x00"  # a deflate stream of nothing


def filez_header(stored: bytes, size: int) -> bytes:
    """Prefix and variant `(tuuuusa(ayay))` of a file, from its `(uuuusa(ayay))`.

    The forms differ in the leading size, and so in the one framing offset (the end of the target), which counts from
    the start of the container and may need to be wider. Copying the rest is ten times faster than decoding and
    encoding, and this runs once per object served.
    """
    width = _offset_width(len(stored))
    end = int.from_bytes(stored[-width:], "little") + 8
    body = len(stored) - width + 8
    new = next(one for one in (1, 2, 4, 8) if body + one < 1 << 8 * one)
    return _PREFIX.pack(body + new, size) + stored[:-width] + end.to_bytes(new, "little")


def filez_pieces(found: Servable) -> list[bytes | Extent]:
    """The `.filez` of a file object: bytes, and where the deflated content lies."""
    stored = found.header or b""
    header = filez_header(stored, found.size)
    if found.extent is not None:
        return [header, found.extent]
    is_symlink = stat.S_ISLNK(int.from_bytes(stored[8:12], "big"))
    return [header] if is_symlink else [header, EMPTY]


def _offset_width(size: int) -> int:
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4
