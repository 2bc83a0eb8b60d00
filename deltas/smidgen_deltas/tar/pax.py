"""Pax extended headers: records "length key=value\\n" (POSIX.1-2017 pax, "pax Extended Header").

Rules enforced here
 * records cover the body exactly; lengths are decimal without leading zeros and end at a newline
 * no key twice (but for the pairs of GNU sparse format 0.0): readers differ in which one counts
 * no NUL in names and numbers, no empty path, link target or size
 * a global header may carry only what cannot change which members there are, or who owns them: GNU tar and Python
   apply global records, Go and libarchive do not
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit
from smidgen_deltas.tar.limits import Limits

Records = tuple[tuple[bytes, bytes], ...]
REPEATED: Final = frozenset({b"GNU.sparse.offset", b"GNU.sparse.numbytes"})
SCHILY_XATTR: Final = b"SCHILY.xattr."
LIBARCHIVE_XATTR: Final = b"LIBARCHIVE.xattr."
MAX_XATTR_NAME: Final = 255
_LENGTH: Final = re.compile(rb"([1-9][0-9]{0,8}) ")
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_TIME: Final = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]{0,32}))?")
_PLAIN: Final = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime"})
_NEVER_EMPTY: Final = frozenset({b"path", b"linkpath", b"size", b"GNU.sparse.name"})
_GLOBAL_REFUSED: Final = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"hdrcharset"})
_GLOBAL_REFUSED_PREFIXES: Final = (b"GNU.", b"SCHILY.", b"LIBARCHIVE.", b"SUN.")
_CHARSETS: Final = frozenset({b"", b"BINARY", b"ISO-IR 10646 2000 UTF-8"})


def parse_records(body: bytes, offset: int) -> Records:
    """Split an extended header's body; `offset` is where it starts. Raises TarCorrupt, TarAmbiguous."""
    records: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    at, end = 0, len(body)
    while at < end:
        length = _LENGTH.match(body, at)
        stop = at + int(length[1]) if length else 0
        if length is None or not length.end() < stop <= end or body[stop - 1] != 0x0A:
            raise TarCorrupt("malformed pax record", offset=offset + at)
        key, equals, value = body[length.end() : stop - 1].partition(b"=")
        if not key or not equals:
            raise TarCorrupt("pax record without a key", offset=offset + at)
        if key in seen and key not in REPEATED:
            raise TarAmbiguous("pax record occurs twice", offset=offset + at, key=_show(key))
        _check_value(key, value, offset + at)
        seen.add(key)
        records.append((key, value))
        at = stop
    return tuple(records)


def _show(key: bytes) -> str:
    return key[:100].decode("ascii", "backslashreplace")


def _check_value(key: bytes, value: bytes, offset: int) -> None:
    if not value and key in _NEVER_EMPTY:
        raise TarAmbiguous("pax record is empty", offset=offset, key=_show(key))
    if b"\0" in value and (key in _PLAIN or key == b"GNU.sparse.name"):
        raise TarAmbiguous("pax record contains NUL", offset=offset, key=_show(key))
    if key == b"hdrcharset" and value not in _CHARSETS:
        raise TarAmbiguous("pax records in an unknown character set", offset=offset, found=_show(value))


def check_global(records: Records, offset: int) -> None:
    """Raise TarAmbiguous when a global header would change members or their owners."""
    for key, _ in records:
        if key in _GLOBAL_REFUSED or key.startswith(_GLOBAL_REFUSED_PREFIXES):
            raise TarAmbiguous("global pax header that readers do not agree on", offset=offset, key=_show(key))


def merged(base: Records, over: Records) -> dict[bytes, bytes]:
    """Records in force: `over` wins, and an empty value deletes. Repeated keys keep their last value only."""
    result = dict(base)
    result.update(over)
    return {key: value for key, value in result.items() if value or key.startswith((SCHILY_XATTR, LIBARCHIVE_XATTR))}


def number(value: bytes, key: bytes, offset: int, limit: int) -> int:
    """A decimal record. Raises TarCorrupt; TarLimit above `limit`."""
    if not _NUMBER.fullmatch(value):
        raise TarCorrupt("pax record is not a number", offset=offset, key=_show(key), found=_show(value))
    found = int(value)
    if found > limit:
        raise TarLimit("pax record is over its limit", offset=offset, key=_show(key), value=found, limit=limit)
    return found


def time_ns(value: bytes, offset: int) -> int:
    """Seconds with a fraction -> nanoseconds, rounded down as POSIX asks of coarser clocks."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise TarCorrupt("pax time is not a number", offset=offset, found=_show(value))
    digits = match[3] or b""
    fraction = int(digits[:9].ljust(9, b"0"))
    whole = int(match[2]) * 1_000_000_000 + fraction
    if not match[1]:
        return whole
    return -whole - 1 if digits[9:].strip(b"0") else -whole


def xattrs(records: Records, limits: Limits, offset: int) -> tuple[tuple[bytes, bytes], ...]:
    """Extended attributes sorted by name. Raises TarAmbiguous when the two spellings disagree, TarLimit, TarCorrupt."""
    found: dict[bytes, bytes] = {}
    for key, value in records:
        if key.startswith(SCHILY_XATTR):
            name = key[len(SCHILY_XATTR) :]
            if b"%3D" in name or b"%25" in name:  # GNU tar unquotes these two, nobody else does
                raise TarAmbiguous("extended attribute with a quoted name", offset=offset, key=_show(key))
        elif key.startswith(LIBARCHIVE_XATTR):
            name, value = _libarchive(key[len(LIBARCHIVE_XATTR) :], value, offset)
        else:
            continue
        if not name or b"\0" in name:
            raise TarCorrupt("extended attribute with an impossible name", offset=offset, key=_show(key))
        if len(name) > MAX_XATTR_NAME or len(value) > limits.xattr:
            raise TarLimit("extended attribute is too large", offset=offset, key=_show(key), size=len(value))
        if found.setdefault(name, value) != value:
            raise TarAmbiguous("extended attribute has two values", offset=offset, name=_show(name))
    return tuple(sorted(found.items()))


def _libarchive(name: bytes, value: bytes, offset: int) -> tuple[bytes, bytes]:
    """libarchive writes the name percent-encoded and the value in base64, without padding."""
    try:
        return unquote_to_bytes(name), base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise TarCorrupt("extended attribute is not base64", offset=offset, key=_show(name)) from error
