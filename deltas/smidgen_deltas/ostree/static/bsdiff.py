"""The bsdiff streams inside static deltas, both ways.

No header; until the object is complete: three 64-bit sign-and-magnitude numbers (bytes of difference x, new bytes y,
step of the place in the source z), x bytes that are added to the source (mod 256; beyond the source's ends they are
added to 0), y bytes as they are; then the place moves by x + z.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from smidgen_deltas.errors import FormatError
from smidgen_deltas.kernels.patching import add, subtract

Buffer = bytes | bytearray | memoryview

MAX_RUN: Final = (1 << 31) - 1
BLOCK: Final = 1 << 20
_NUMBERS: Final = struct.Struct("<3Q")
_SIGN: Final = 1 << 63


class BsdiffInvalid(FormatError):
    """A bsdiff stream does not fit the size of its object."""


def apply_bsdiff(stream: memoryview, source: Buffer, size: int) -> Iterator[bytes]:
    """The object of `size` bytes, in blocks. Raises BsdiffInvalid with the offset in the stream."""
    old = memoryview(source)
    at = done = place = 0
    while done < size:
        if len(stream) - at < _NUMBERS.size:
            raise BsdiffInvalid("patch ends early", at=at, done=done, size=size)
        added, fresh, step = (_signed(number) for number in _NUMBERS.unpack_from(stream, at))
        at += _NUMBERS.size
        if not 0 <= added <= MAX_RUN or not 0 <= fresh <= MAX_RUN or added + fresh > size - done:
            raise BsdiffInvalid("patch writes beyond its object", at=at, done=done, size=size)
        if added + fresh > len(stream) - at:
            raise BsdiffInvalid("patch ends early", at=at, done=done, size=size)
        if abs(step) > 1 << 62 or abs(place + added + step) > 1 << 62:
            raise BsdiffInvalid("patch reads from an impossible place", at=at)
        for start in range(0, added, BLOCK):
            yield _added(stream[at + start : at + min(start + BLOCK, added)], old, place + start)
        at += added
        for start in range(0, fresh, BLOCK):
            yield bytes(stream[at + start : at + min(start + BLOCK, fresh)])
        at += fresh
        done += added + fresh
        place += added + step
    if at != len(stream):
        raise BsdiffInvalid("patch goes on after its object is complete", at=at, length=len(stream))


def make_bsdiff(old: Buffer, new: Buffer, blocks: Sequence[tuple[int, int, int]]) -> Iterator[bytes]:
    """The stream that makes `new` of `old` along an alignment.

    Args:
        blocks: (offset in new, offset in old, length), ascending in new, not overlapping there.
    """
    before, after = memoryview(old), memoryview(new)
    rows = list(blocks)
    if not rows or rows[0][0] or rows[0][1]:
        rows.insert(0, (0, 0, 0))  # the first step needs something to start from: place 0 of both
    ends = [row[0] for row in rows[1:]] + [len(after)]
    for number, ((at, place, length), end) in enumerate(zip(rows, ends, strict=True)):
        following = rows[number + 1][1] if number + 1 < len(rows) else place + length
        yield _NUMBERS.pack(length, end - at - length, _magnitude(following - place - length))
        difference = bytearray(length)
        subtract(after[at : at + length], before[place : place + length], difference)
        yield bytes(difference)
        yield bytes(after[at + length : end])


def _added(difference: memoryview, old: memoryview, place: int) -> bytes:
    out = bytearray(difference)
    first, last = max(place, 0), min(place + len(out), len(old))
    if first < last:
        base = bytearray(len(out))
        base[first - place : last - place] = old[first:last]
        add(out, base)
    return bytes(out)


def _signed(number: int) -> int:
    return -(number & ~_SIGN) if number & _SIGN else number


def _magnitude(number: int) -> int:
    return -number | _SIGN if number < 0 else number
