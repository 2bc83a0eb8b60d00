"""A tar-diff file: eight bytes that name the format and its version, then one zstd frame of operations.

Appliers differ in what they accept; what is written here suits all of them, and nothing else is read: one frame, no
frame to be skipped, a window of at most 128 MiB (libzstd's limit, which flatpak keeps).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, Protocol

from smidgen_deltas.errors import FormatError, UnsupportedFeature
from smidgen_deltas.tardiff.operations import Operation, decode, encode
from smidgen_deltas.zstd import MAX_WINDOW_LOG, Compressor, Parameter, stream_decompress

MAGIC: Final = b"tardf"
MAGIC_SIZE: Final = 8
VERSIONS: Final = (1, 2)
MAX_STREAM: Final = 1 << 42
GATHERED: Final = 1 << 17
LEVEL: Final = 15  # of a system's delta 19 takes 2 % away, for six times the work


class TardiffInvalid(FormatError):
    """Not a tar-diff, or its frame cannot be unpacked."""


class Reader(Protocol):
    """What `open(..., 'rb')` offers."""

    def read(self, size: int, /) -> bytes: ...


def magic(version: int) -> bytes:
    """The first eight bytes of a file."""
    return MAGIC + str(version).encode() + b"\n\0"


def read_version(reader: Reader) -> int:
    """Read the first eight bytes. Raises TardiffInvalid, UnsupportedFeature."""
    head = reader.read(MAGIC_SIZE)
    for version in VERSIONS:
        if head == magic(version):
            return version
    if len(head) == MAGIC_SIZE and head.startswith(MAGIC) and head.endswith(b"\n\0"):
        raise UnsupportedFeature(
            "tar-diff of an unknown version", at=0, version=head[len(MAGIC) : -2].decode("latin-1")
        )
    raise TardiffInvalid("not a tar-diff", at=0, expected=magic(1).hex(), found=head.hex())


def read_operations(reader: Reader, limit: int = MAX_STREAM) -> Iterator[tuple[int, Operation]]:
    """The operations of a file, from its first byte, each with its offset in the unpacked stream.

    Args:
        limit: most bytes to unpack.
    Raises (while iterating) TardiffInvalid, OperationsInvalid, UnsafePath, LimitExceeded, UnsupportedFeature,
    ZstdInvalid.
    """
    version = read_version(reader)
    yield from decode(stream_decompress(reader, limit, window_log=MAX_WINDOW_LOG), version)


def write_operations(
    file: BinaryIO, operations: Iterable[Operation], level: int = LEVEL, *, workers: int = 0, version: int = 1
) -> int:
    """Write a file; returns its size.

    Args:
        level: of zstd. The window is as large as every applier accepts, and distant repeats are found.
        workers: threads; 0 for the caller's only.
    """
    compressor = Compressor(options=_options(level, workers))
    size = file.write(magic(version))
    pending = bytearray()
    for operation in operations:
        for piece in encode(operation):
            pending += piece
        if len(pending) >= GATHERED:
            size += file.write(compressor.compress(pending))
            pending = bytearray()
    return size + file.write(compressor.compress(pending)) + file.write(compressor.flush())


def _options(level: int, workers: int) -> dict[int, int]:
    return {
        Parameter.compression_level: level,
        Parameter.checksum_flag: 1,
        Parameter.nb_workers: workers,
        Parameter.window_log: MAX_WINDOW_LOG,
        Parameter.enable_long_distance_matching: 1,
    }
