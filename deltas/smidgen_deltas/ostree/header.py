"""The variable part of a file header, `…sa(ayay)` behind fixed numbers, both ways.

`(uuuusa(ayay))` is hashed into the object, `(tuuuusa(ayay))` is in `.filez`; they differ in the leading numbers only,
which are big-endian and need no padding. Lists of xattrs repeat endlessly in a tree, so short ones are remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import NotNormal, frame_width, offset_width

Xattrs = tuple[tuple[bytes, bytes], ...]

XATTRS: Final = "a(ayay)"
CACHED: Final = 1024  # lists and bytes of each: the two caches stay below 4 MiB


def encode_tail(numbers: bytes, target: str, xattrs: Xattrs) -> bytes:
    """The whole variant of packed `numbers`, a symlink target and xattrs."""
    text = target.encode()
    if b"\0" in text:
        raise ValueError("a symlink target may not hold NUL")
    begin = len(numbers) + len(text) + 1
    body = numbers + text + b"\0" + encode_xattrs(xattrs)
    return body + begin.to_bytes(frame_width(len(body), 1), "little")


def decode_tail(data: bytes, numbers: int) -> tuple[str, Xattrs]:
    """Target and xattrs of a variant that begins with `numbers` bytes of numbers. Raises NotNormal."""
    width = offset_width(len(data))
    body = len(data) - width
    begin = int.from_bytes(data[max(body, 0) :], "little")
    if not numbers < begin <= body or frame_width(body, 1) != width:
        raise NotNormal("file header's framing offset is wrong", offset=max(body, 0))
    if data.find(b"\0", numbers, begin) != begin - 1:
        raise NotNormal("string is not terminated by its only NUL", offset=numbers)
    try:
        target = data[numbers : begin - 1].decode()
    except UnicodeDecodeError as error:
        raise NotNormal("string is not UTF-8", offset=numbers + error.start) from error
    return target, decode_xattrs(data[begin:body])


def encode_xattrs(xattrs: Xattrs) -> bytes:
    """`a(ayay)`."""
    if not xattrs:
        return b""
    if sum(len(name) + len(value) for name, value in xattrs) > CACHED:
        return gvariant.encode(XATTRS, xattrs)
    return _encoded(tuple(xattrs))


def decode_xattrs(data: bytes) -> Xattrs:
    """`a(ayay)`. Raises NotNormal; order and names are not judged here."""
    if not data:
        return ()
    return _decoded(data) if len(data) <= CACHED else _decode(data)


@lru_cache(maxsize=CACHED)
def _encoded(xattrs: Xattrs) -> bytes:
    return gvariant.encode(XATTRS, xattrs)


def _decode(data: bytes) -> Xattrs:
    found: Xattrs = gvariant.decode(XATTRS, data)
    return found


_decoded = lru_cache(maxsize=CACHED)(_decode)
