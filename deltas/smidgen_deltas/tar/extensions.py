"""What stands before a member: pax records ("x", "g") and GNU's long names ("L", "K").

Rules enforced here
 * one header of each kind for a member, and never pax together with GNU's: readers differ in which one wins, and a pax
   size in front of a GNU long name is how CVE-2025-62518 smuggled members
 * bodies are bounded before they are read
"""

from __future__ import annotations

from typing import Final

from smidgen_deltas.tar import pax
from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit
from smidgen_deltas.tar.header import Header
from smidgen_deltas.tar.limits import Limits

PAX: Final = b"x"
GLOBAL: Final = b"g"
LONG_NAME: Final = b"L"
LONG_LINK: Final = b"K"
KINDS: Final = frozenset({PAX, GLOBAL, LONG_NAME, LONG_LINK})


class Extensions:
    """Collects the extension headers in front of one member. `inherited` are the global records so far."""

    __slots__ = ("_bodies", "_limits", "inherited", "offset", "records")

    def __init__(self, inherited: pax.Records, limits: Limits) -> None:
        self._limits = limits
        self._bodies: dict[bytes, bytes] = {}
        self.inherited = inherited
        self.records: pax.Records = ()
        self.offset = -1

    @property
    def pending(self) -> bool:
        """Whether something waits for its member."""
        return bool(self._bodies)

    @property
    def long_name(self) -> bytes | None:
        return self._bodies.get(LONG_NAME)

    @property
    def long_link(self) -> bytes | None:
        return self._bodies.get(LONG_LINK)

    def admit(self, header: Header) -> int:
        """Check an extension header; return how long its body is."""
        kind = header.typeflag
        limit = self._limits.extension if kind in (PAX, GLOBAL) else self._limits.name + 1
        if header.size > limit:
            raise TarLimit("tar extension header is too large", offset=header.offset, size=header.size, limit=limit)
        mixed = (kind == PAX and self._bodies) or (kind in (LONG_NAME, LONG_LINK) and PAX in self._bodies)
        if kind in self._bodies or mixed:
            raise TarAmbiguous("tar member with extension headers that compete", offset=header.offset)
        if kind == GLOBAL and self._bodies:
            raise TarAmbiguous("global pax header between a member's headers", offset=header.offset)
        return header.size

    def add(self, header: Header, body: bytes) -> None:
        """Take the body of an admitted header."""
        start = header.offset + len(header.block)
        if header.typeflag == GLOBAL:
            records = pax.parse_records(body, start)
            pax.check_global(records, start)
            self.inherited = tuple(pax.merged(self.inherited, records).items())
            return
        if self.offset < 0:
            self.offset = header.offset
        if header.typeflag == PAX:
            self.records = pax.parse_records(body, start)
            self._bodies[PAX] = b""
        else:
            self._bodies[header.typeflag] = _terminated(body, start)


def _terminated(body: bytes, offset: int) -> bytes:
    text, _, rest = body.partition(b"\0")
    if not text or rest.strip(b"\0"):
        raise TarCorrupt("malformed GNU long name", offset=offset)
    return text
