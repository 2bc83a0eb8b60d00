"""Verification of ostree file objects on their way in, whatever form they come in.

Out comes a `CheckedFile`: header, sha256 of the content and its raw-deflate form, in memory up to SPOOL bytes and in
a temporary file beyond. Nothing is returned whose checksum was not computed from every byte. These functions release
the GIL nearly all of the time (sha256, zlib), so several may run on threads.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from smidgen_deltas.errors import DigestMismatch, SizeMismatch
from smidgen_deltas.ostree.filez import FilezCorrupt, inflate
from smidgen_deltas.ostree.objects import FileHeader
from smidgen_server.blobs.staging import storage_errors

SPOOL: Final = 1 << 20
SLACK: Final = 64 << 10  # bytes that a deflate stream may have beyond twice its content
LEVEL: Final = 6  # what stock archive repositories use
RAW: Final = -zlib.MAX_WBITS


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class CheckedFile:
    """A file object that hashed to its checksum. Close it, or hand it to the store, which does.

    Args:
        sha256: of the content alone.
        deflated: its raw-deflate form, `length` bytes, positioned at the start; None for symlinks and empty files.
    """

    checksum: bytes
    header: FileHeader
    size: int
    sha256: bytes
    deflated: IO[bytes] | None
    length: int

    def close(self) -> None:
        if self.deflated is not None:
            self.deflated.close()


def check_file(
    checksum: bytes, header: FileHeader, size: int, chunks: Iterable[bytes], scratch: Path, level: int = LEVEL
) -> CheckedFile:
    """Verify a file object given as header and plain content, and deflate it.

    Raises DigestMismatch or SizeMismatch; nothing is left behind.
    """
    tally = _Tally(checksum, header, size)
    spool = _spool(scratch)
    try:
        if size:
            packer = zlib.compressobj(level, zlib.DEFLATED, RAW)
            for chunk in chunks:
                tally.add(chunk)
                _write(spool, packer.compress(chunk))
            _write(spool, packer.flush())
        return tally.finish(spool)
    except BaseException:
        spool.close()
        raise


def check_filez(checksum: bytes, header: FileHeader, size: int, source: Source, scratch: Path) -> CheckedFile:
    """Verify a file object given as `.filez`, whose header was read from `source` already (`read_filez_header`); its
    deflated bytes are kept as they are.

    Raises:
        DigestMismatch: it is not the object of that name.
        FilezCorrupt: the deflate stream is damaged, ends early, or is followed by other bytes.
    """
    tally = _Tally(checksum, header, size)
    spool = _spool(scratch)
    try:
        copied = _Copied(source, spool, checksum, limit=2 * size + SLACK)
        if header.is_symlink:
            if source.read(1):
                raise FilezCorrupt("bytes after the header of a symlink", object=checksum.hex())
        else:
            for chunk in inflate(copied, size):
                tally.add(chunk)
        return tally.finish(spool)
    except BaseException:
        spool.close()
        raise


class _Copied:
    """Passes on what it reads from a source and copies it to a spool. A deflate stream may consist of empty blocks
    without end, so its length is bounded too."""

    def __init__(self, source: Source, spool: IO[bytes], checksum: bytes, *, limit: int) -> None:
        self._source, self._spool, self._checksum, self._left = source, spool, checksum, limit

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise FilezCorrupt("deflate stream is far longer than its content", object=self._checksum.hex())
        _write(self._spool, block)
        return block


class _Tally:
    """Counts and hashes what an object is made of; `finish` is the only way to a CheckedFile."""

    def __init__(self, checksum: bytes, header: FileHeader, size: int) -> None:
        self._checksum, self._header, self._size = checksum, header, size
        self._stream = hashlib.sha256(header.prefix())
        self._content = hashlib.sha256()
        self._count = 0

    def add(self, chunk: bytes) -> None:
        self._count += len(chunk)
        if self._count > self._size:
            self._wrong_size()
        self._stream.update(chunk)
        self._content.update(chunk)

    def finish(self, spool: IO[bytes]) -> CheckedFile:
        if self._count != self._size:
            self._wrong_size()
        if self._stream.digest() != self._checksum:
            raise DigestMismatch(
                "file object does not match its checksum",
                expected=self._checksum.hex(),
                found=self._stream.hexdigest(),
            )
        length = spool.tell()
        if not self._size:
            spool.close()
            return CheckedFile(self._checksum, self._header, 0, self._content.digest(), None, 0)
        spool.seek(0)
        return CheckedFile(self._checksum, self._header, self._size, self._content.digest(), spool, length)

    def _wrong_size(self) -> None:
        raise SizeMismatch(
            "file object is not as long as its header says",
            object=self._checksum.hex(),
            expected=self._size,
            found=self._count,
        )


def _spool(scratch: Path) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=SPOOL, dir=str(scratch))  # noqa: SIM115 - closed by its CheckedFile


def _write(spool: IO[bytes], data: bytes) -> None:
    with storage_errors():
        spool.write(data)
