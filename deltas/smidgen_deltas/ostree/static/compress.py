"""Compressing a part so that stock clients of all versions can unpack it.

Clients from 2026.3 on bound the decoder's memory (`limits`). Settings were measured on updates of Debian 12 and 13:
patches are mostly zeros, so the longest matches there are (273) save five percent; positions say nothing (pb 0); a
dictionary beyond 16 MiB saves half a percent and costs eleven times its size in the encoder's memory.
"""

from __future__ import annotations

import hashlib
import lzma
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Final

from smidgen_deltas.ostree.static.part import XZ
from smidgen_deltas.ostree.static.stored import store_xz

DICTIONARY: Final = 16 << 20
LEAST_DICTIONARY: Final = 1 << 16
NICE: Final = 273
BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PackedPart:
    """A part as it will be stored, in a temporary file. size: of the file; payload: bytes before compressing."""

    file: IO[bytes]
    size: int
    payload: int
    sha256: bytes

    def read(self) -> bytes:
        """All of it."""
        self.file.seek(0)
        return self.file.read()


def pack(pieces: Iterable[bytes | memoryview], size: int, *, stored: bool) -> PackedPart:
    """A part's file.

    Args:
        pieces: the payload.
        size: roughly that of the payload; the dictionary is no larger.
        stored: that the payload does not become smaller; no time is spent on trying.
    Memory: about twelve times the dictionary.
    """
    counted = _Counted(pieces)
    body = store_xz(counted) if stored else _compressed(counted, size)
    hasher = hashlib.sha256()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    for block in chain((bytes((XZ,)),), body):
        hasher.update(block)
        file.write(block)
    return PackedPart(file, file.tell(), counted.size, hasher.digest())


class _Counted:
    """Passes pieces on and counts their bytes."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = pieces
        self.size = 0

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


def _compressed(pieces: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    dictionary = min(DICTIONARY, max(LEAST_DICTIONARY, 1 << max(size - 1, 1).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary, "nice_len": NICE, "lc": 4, "pb": 0}]
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()
