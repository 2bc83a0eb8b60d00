"""A strict streaming tar reader: one interpretation of an archive, or an error with an offset.

It reads ustar, pax, GNU and v7 archives, sparse files in all four GNU forms, and refuses what other readers understand
differently (`TarAmbiguous`), because a tree that two programs see differently cannot be vouched for by one digest:

 * a size in a pax record wins over the header's, always, and governs where the next header is (CVE-2025-62518)
 * members that are only a header (links, directories, devices) must have no content
 * a single zero block must be followed by another or by the end; what follows two is no part of the archive
 * names are handed out raw; `paths.clean` says which are safe

Memory: one block of the input, one extension header, one sparse map. Bodies pass through without being looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from smidgen_deltas.tar import pax
from smidgen_deltas.tar.describe import OLD_SPARSE, describe
from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit
from smidgen_deltas.tar.extensions import KINDS, Extensions
from smidgen_deltas.tar.header import BLOCK, ZEROS, Header, parse_header
from smidgen_deltas.tar.limits import DEFAULT, Limits
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.source import ByteSource, Source
from smidgen_deltas.tar.sparse import MapReader, OldMap, PaxForm, checked

_DRAIN: Final = 1 << 18


class TarReader:
    """Iterates the members of one archive.

    Going on to the next member passes over what was not read of the last one. After the end, everything that follows
    has been read too, so a hash of the input is complete.

    Args:
        source: blocks of bytes of any length, or a Source.
        literal: called with every byte that is not content of a regular file, in order: headers, padding, sparse maps,
            the end, and what follows it.
    Raises (while iterating): TarCorrupt, TarAmbiguous, TarUnsupported, TarLimit.
    """

    def __init__(
        self,
        source: Iterable[bytes] | Source,
        *,
        limits: Limits = DEFAULT,
        literal: Callable[[bytes], None] | None = None,
    ) -> None:
        self._source = ByteSource(source) if isinstance(source, Iterable) else source
        self._limits = limits
        self._literal = literal
        self._headers = 0
        self._inherited: pax.Records = ()
        self._serial = 0
        self._left = 0
        self._padding = 0
        self._ended = False
        self.trailer = 0
        """Bytes after the end-of-archive blocks, once the end was reached."""

    @property
    def offset(self) -> int:
        """Bytes of the archive read so far."""
        return self._source.offset

    def __iter__(self) -> Iterator[Member]:
        return self

    def __next__(self) -> Member:
        if self._ended:
            raise StopIteration
        self._finish_body()
        member = self._next_member()
        if member is None:
            self._ended = True
            self._drain()
            raise StopIteration
        return member

    # -- bytes ------------------------------------------------------------------------------------------------------

    def _take(self, size: int, what: str) -> bytes:
        start = self._source.offset
        data = self._source.take(size)
        if len(data) < size:
            raise TarCorrupt(f"tar ends inside {what}", offset=start + len(data), wanted=size, found=len(data))
        if self._literal:
            self._literal(data)
        return data

    def _body(self, serial: int) -> Iterator[bytes]:
        while True:
            if serial != self._serial:
                raise RuntimeError("the body of a tar member was read after the reader had gone on")
            if not self._left:
                return
            block = self._source.some(self._left)
            if not block:
                raise TarCorrupt("tar ends inside a member", offset=self._source.offset, missing=self._left)
            self._left -= len(block)
            yield block

    def _finish_body(self) -> None:
        self._serial += 1
        if self._left:
            self._left -= self._source.skip(self._left)
            if self._left:
                raise TarCorrupt("tar ends inside a member", offset=self._source.offset, missing=self._left)
        if self._padding:
            self._take(self._padding, "padding")
            self._padding = 0

    def _drain(self) -> None:
        """Pass what follows the end on to `literal`."""
        while data := self._source.some(_DRAIN):
            self.trailer += len(data)
            if self.trailer > self._limits.trailer:
                raise TarLimit("too many bytes after the end of the archive", limit=self._limits.trailer)
            if self._literal:
                self._literal(data)

    # -- headers ----------------------------------------------------------------------------------------------------

    def _next_block(self) -> bytes | None:
        """The next header block; None at the end of the archive. A missing end marker is no error, as everywhere."""
        start = self._source.offset
        block = self._source.take(BLOCK)
        if not block:
            return None
        if len(block) < BLOCK:
            raise TarCorrupt("tar ends inside a header", offset=start + len(block))
        if self._literal:
            self._literal(block)
        if block != ZEROS:
            return block
        second = self._source.take(BLOCK)
        if self._literal and second:
            self._literal(second)
        if second.strip(b"\0"):
            raise TarAmbiguous("tar goes on after a single zero block", offset=start + BLOCK)
        return None

    def _next_header(self) -> Header | None:
        start = self._source.offset
        block = self._next_block()
        if block is None:
            return None
        self._headers += 1
        if self._headers > self._limits.headers:
            raise TarLimit("tar has too many headers", offset=start, limit=self._limits.headers)
        return parse_header(block, start)

    def _next_member(self) -> Member | None:
        extensions = Extensions(self._inherited, self._limits)
        while (header := self._next_header()) and header.typeflag in KINDS:
            size = extensions.admit(header)
            extensions.add(header, self._take(size, "an extension header"))
            self._take(-size % BLOCK, "padding")
        self._inherited = extensions.inherited
        if header is None:
            if extensions.pending:
                raise TarCorrupt("tar ends after an extension header", offset=self._source.offset)
            return None
        return self._member(header, extensions)

    # -- members ----------------------------------------------------------------------------------------------------

    def _member(self, header: Header, extensions: Extensions) -> Member:
        serial = self._serial
        member = describe(header, extensions, self._limits, lambda: self._body(serial))
        if header.typeflag == OLD_SPARSE:
            return self._old_sparse(header, member)
        self._start_body(member.stored)
        if any(key.startswith(b"GNU.sparse.") for key, _ in member.records):
            return self._pax_sparse(member)
        return member

    def _start_body(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _old_sparse(self, header: Header, member: Member) -> Member:
        """Old GNU format: the map is in the header and in blocks between it and the body."""
        reader = OldMap(header, self._limits)
        while reader.wants_more:
            reader.feed(self._take(BLOCK, "a sparse map"))
        self._start_body(member.stored)
        segments = checked(reader.segments, reader.size, member.stored, header.offset)
        return replace(member, size=reader.size, sparse=segments)

    def _pax_sparse(self, member: Member) -> Member:
        """GNU's pax formats: the map is in the records, or (1.0) at the start of the body."""
        form = PaxForm.of(member, self._limits)
        segments = form.segments
        if form.in_body:
            reader = MapReader(self._limits, self._source.offset)
            found = None
            while found is None:
                if self._left < BLOCK:
                    raise TarCorrupt("sparse map does not end", offset=self._source.offset)
                self._left -= BLOCK
                found = reader.feed(self._take(BLOCK, "a sparse map"))
            segments = found
        checked_segments = checked(segments, form.size, self._left, member.offset)
        return replace(member, path=form.path, size=form.size, stored=self._left, sparse=checked_segments)
