"""zstd frames that take a whole file for their dictionary, as `zstd --patch-from` makes them; in version 2 only."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.tardiff.operations import OperationsInvalid
from smidgen_deltas.zstd import MIN_PREFIX, ZstdInvalid, stream_decompress

MAX_WINDOW_LOG: Final = 29  # what stock generators go up to
MAX_SOURCE: Final = 512 << 20  # held in memory while the frame is unpacked
MAX_RESULT: Final = 1 << 40
BLOCK: Final = 1 << 20


def unpack(frame: bytes, source: memoryview, at: int) -> Iterator[bytes]:
    """What the frame yields, in blocks of at most BLOCK bytes.

    Args:
        at: place of the operation, for messages.
    Raises OperationsInvalid, LimitExceeded.
    """
    if len(source) > MAX_SOURCE:
        raise LimitExceeded("source of a dictionary is too large", at=at, size=len(source), limit=MAX_SOURCE)
    prefix = bytes(source) if len(source) >= MIN_PREFIX else None
    try:
        yield from stream_decompress(BytesIO(frame), MAX_RESULT, window_log=MAX_WINDOW_LOG, block=BLOCK, prefix=prefix)
    except ZstdInvalid as error:
        raise OperationsInvalid("dictionary's frame cannot be unpacked", at=at, **error.detail) from error
