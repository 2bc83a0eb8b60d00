"""Bounded reading and writing of the primitives that our binary formats share.

A varint is unsigned LEB128: seven bits a byte, low group first, at most ten bytes, shortest form only.
"""

from __future__ import annotations

from typing import Final

from smidgen_deltas.errors import FormatError, LimitExceeded

MAX_VARINT_BYTES: Final = 10


class WireCorrupt(FormatError):
    """Bytes end early, are left over, or a number is not in its only form."""


def varint(value: int) -> bytes:
    """Encode 0 <= value < 2**64."""
    out = bytearray()
    put_varint(out, value)
    return bytes(out)


def put_varint(out: bytearray, value: int) -> None:
    """Append `value` to `out`."""
    if not 0 <= value < 1 << 64:
        raise ValueError("varint out of range")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def put_bytes(out: bytearray, data: bytes) -> None:
    """Append `data` behind its length."""
    put_varint(out, len(data))
    out += data


class WireReader:
    """A cursor over one bytes object; every method raises WireCorrupt with the offset rather than read past the end."""

    __slots__ = ("_at", "_data", "_end", "_what")

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self._data = memoryview(data).cast("B") if isinstance(data, memoryview) else memoryview(data)
        self._at = 0
        self._end = len(self._data)
        self._what = what

    @property
    def offset(self) -> int:
        return self._at

    @property
    def left(self) -> int:
        return self._end - self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        return bytes(self.view(size))

    def view(self, size: int) -> memoryview:
        """The next `size` bytes, not copied."""
        if size > self._end - self._at:
            raise WireCorrupt(f"{self._what} ends early", offset=self._at, wanted=size, left=self.left)
        start = self._at
        self._at = start + size
        return self._data[start : self._at]

    def number(self, limit: int, name: str) -> int:
        """The next varint; LimitExceeded above `limit`."""
        data, at, end = self._data, self._at, self._end
        value = shift = 0
        while True:
            if at >= end:
                raise WireCorrupt(f"{self._what} ends inside a number", offset=self._at, field=name)
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift >= 7 * MAX_VARINT_BYTES:
                raise WireCorrupt(f"{self._what} has an overlong number", offset=self._at, field=name)
        if byte == 0 and shift:
            raise WireCorrupt(f"{self._what} has a number not in shortest form", offset=self._at, field=name)
        if value > limit:
            raise LimitExceeded(f"{self._what}: {name} is over its limit", offset=self._at, value=value, limit=limit)
        self._at = at
        return value

    def block(self, limit: int, name: str) -> bytes:
        """Bytes behind their length, which must be at most `limit`."""
        return self.take(self.number(limit, name))

    def expect(self, magic: bytes) -> None:
        found = bytes(self._data[self._at : self._at + len(magic)])
        if found != magic:
            raise WireCorrupt(f"not a {self._what}", offset=self._at, expected=magic.hex(), found=found.hex())
        self._at += len(magic)

    def done(self) -> None:
        """Raise WireCorrupt unless everything was read."""
        if self._at != self._end:
            raise WireCorrupt(f"{self._what} is followed by other bytes", offset=self._at, left=self.left)
