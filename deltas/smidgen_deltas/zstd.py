"""The one place that knows which zstd binding there is: `compression.zstd` (3.14), `backports.zstd`.

Frames are interchangeable between bindings; only the calls differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final, Protocol

from smidgen_deltas.errors import FormatError, LimitExceeded

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

Compressor = zstd.ZstdCompressor
Decompressor = zstd.ZstdDecompressor
Parameter = zstd.CompressionParameter
ZstdError = zstd.ZstdError
LIBZSTD: Final = zstd.zstd_version
frame_size = zstd.get_frame_size  # compressed bytes of the first frame in a buffer

MAX_WINDOW_LOG: Final = 27  # what every stock decoder accepts without being asked
MIN_PREFIX: Final = 8  # the binding takes none that is shorter


class ZstdInvalid(FormatError):
    """Not a zstd frame, or a damaged one."""


def damaged(error: ZstdError, **detail: int) -> ZstdInvalid | MemoryError:
    """What a decoder's error means: bytes that are wrong, or memory that it did not get."""
    reason = str(error)
    if "not enough memory" in reason or "Unable to create" in reason:
        return MemoryError(reason)
    return ZstdInvalid("damaged zstd frame", reason=reason, **detail)


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def compress(
    data: bytes | bytearray | memoryview, level: int = 19, *, checksum: bool = False, window_log: int = 0
) -> bytes:
    """One frame with its content size in the header. window_log: 0 for what the level gives."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: int(checksum),
    }
    if window_log:
        options[zstd.CompressionParameter.window_log] = window_log
    return zstd.compress(data, options=options)


def decompress(data: bytes | memoryview, size: int, *, window_log: int = MAX_WINDOW_LOG) -> bytes:
    """One frame that must yield exactly `size` bytes and end there.

    Raises:
        LimitExceeded: it yields more than `size`; never more than `size + 1` bytes are held.
        ZstdInvalid: it is damaged, shorter, or followed by other bytes.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
    decoder = zstd.ZstdDecompressor(options=options)
    try:
        out = decoder.decompress(data, size + 1)
    except zstd.ZstdError as error:
        raise damaged(error) from error
    if len(out) > size:
        raise LimitExceeded("zstd frame is longer than declared", declared=size)
    if len(out) < size or not decoder.eof or decoder.unused_data:
        raise ZstdInvalid("zstd frame ends early or is followed by other bytes", declared=size, found=len(out))
    return out


def stream_decompress(
    source: _Source,
    limit: int,
    *,
    window_log: int = MAX_WINDOW_LOG,
    block: int = 1 << 17,
    frames: bool = False,
    prefix: bytes | None = None,
) -> Iterator[bytes]:
    """Yield the content of the frame(s) in `source`, blocks of at most `block` bytes.

    Args:
        limit: most bytes to yield; LimitExceeded beyond.
        frames: accept several concatenated frames (as registries' layers may be).
        prefix: bytes that come before the content of the (first) frame, at least MIN_PREFIX; what `zstd --patch-from`
            was given.
    Raises:
        ZstdInvalid: damaged or truncated.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
    before = None if prefix is None else zstd.ZstdDict(prefix, is_raw=True).as_prefix
    decoder = zstd.ZstdDecompressor(before, options)
    pending, produced, started = b"", 0, False
    while True:
        if decoder.eof:
            pending = decoder.unused_data or source.read(block)
            if not pending:
                return
            if not frames:
                raise ZstdInvalid("bytes after the zstd frame")
            decoder = zstd.ZstdDecompressor(options=options)
        elif decoder.needs_input:
            pending = source.read(block)
            if not pending:
                if started:
                    raise ZstdInvalid("truncated zstd frame", produced=produced)
                raise ZstdInvalid("no zstd frame")
        started = True
        try:
            out = decoder.decompress(pending, block)
        except zstd.ZstdError as error:
            raise damaged(error, produced=produced) from error
        pending = b""
        produced += len(out)
        if produced > limit:
            raise LimitExceeded("zstd content is longer than allowed", limit=limit)
        if out:
            yield out
