"""Codes the literal bytes of a tar as differences between its headers. See FORMAT.md, "Literal bytes".

Headers resemble the ones before them, and two of their fields follow from what is known anyway: the checksum from the
other bytes, the size from the content that comes next. What is left is mostly the new part of a name. Coding is per
fragment: what lies between two multiples of 512 in the tar, or less where a content begins or the tar ends.
"""

from __future__ import annotations

from typing import Final

from smidgen_deltas.errors import FormatError
from smidgen_deltas.kernels.tarblocks import changes, checksum
from smidgen_deltas.tar.header import BLOCK, CHECKSUM, ZEROS

ZERO, DIFF, RAW = 0, 1, 2
HISTORY: Final = 8
LONG_RUN: Final = 63
SUM_FOLLOWS: Final = 1 << 5
SIZE_SHIFT: Final = 6
_SIZE: Final = slice(124, 136)
_SIZE_FORMS: Final = (b"", b"%011o\0", b"%011o ")
_OCTAL_SIZE_LIMIT: Final = 1 << 33


class RecipeCorrupt(FormatError):
    """An encoded recipe is damaged, or does not belong to the contents it is used with."""


def _derive(block: bytearray, flags: int, size: int) -> None:
    """Fill in what follows from the rest: the size field first, for the checksum covers it."""
    form = flags >> SIZE_SHIFT
    if form:
        block[_SIZE] = _SIZE_FORMS[form] % size
    if flags & SUM_FOLLOWS:
        block[CHECKSUM] = b"%06o\0 " % checksum(bytes(block))


class FragmentEncoder:
    """Turns fragments into two byte streams, `control` and `data`."""

    def __init__(self) -> None:
        self.control = bytearray()
        self.data = bytearray()
        self._history = (ZEROS,) * HISTORY
        self._zeros = 0

    def add(self, fragment: bytes, size: int) -> None:
        """Code a fragment. `size` is the content that begins where the fragment ends, 0 when none does."""
        if not fragment.strip(b"\0"):
            self._zeros += 1
            return
        self.finish()
        if len(fragment) < BLOCK or not self._differ(fragment, size):
            self.control.append(RAW)
            self.data += fragment
        if len(fragment) == BLOCK:
            self._history = (fragment, *self._history[:-1])

    def finish(self) -> None:
        """Write the zero fragments that are still pending."""
        if self._zeros >= LONG_RUN:
            self.control.append(ZERO | LONG_RUN << 2)
            self.control += (self._zeros - LONG_RUN).to_bytes(6, "little")
        elif self._zeros:
            self.control.append(ZERO | self._zeros << 2)
        self._zeros = 0

    def _differ(self, block: bytes, size: int) -> bool:
        """Code a whole block against the most similar one before it; False when nothing is gained."""
        flags = _flags(block, size)
        best, runs, changed = changes(block, self._history, bool(flags & SUM_FOLLOWS), bool(flags >> SIZE_SHIFT))
        count = len(runs) // 2
        if count > 255 or len(runs) + len(changed) >= BLOCK:
            return False
        self.control.append(DIFF | best << 2 | flags)
        self.control.append(count)
        self.control += runs
        self.data += changed
        return True


def _flags(block: bytes, size: int) -> int:
    flags = 0
    if block[CHECKSUM] == b"%06o\0 " % checksum(block):
        flags = SUM_FOLLOWS
    if 0 < size < _OCTAL_SIZE_LIMIT:
        for form in (1, 2):
            if block[_SIZE] == _SIZE_FORMS[form] % size:
                flags |= form << SIZE_SHIFT
    return flags


class FragmentDecoder:
    """The way back. Everything read is bounded by the streams; errors are RecipeCorrupt with the control offset."""

    def __init__(self, control: bytes, data: bytes) -> None:
        self._control = control
        self._data = data
        self._at = 0
        self._used = 0
        self._zeros = 0
        self._history = [ZEROS] * HISTORY

    def next(self, length: int, size: int) -> bytes:
        """The next fragment, which must be of `length` bytes; `size` as given to the encoder."""
        if self._zeros:
            self._zeros -= 1
            return ZEROS[:length]
        code = self._byte()
        kind = code & 3
        if kind == ZERO:
            self._zeros = self._run(code >> 2) - 1
            return ZEROS[:length]
        if kind == DIFF and length == BLOCK:
            fragment = self._diff(code, size)
        elif kind == RAW and code == RAW:
            fragment = self._bytes(length)
        else:
            raise self._corrupt("impossible code")
        if length == BLOCK:
            self._history = [fragment, *self._history[:-1]]
        return fragment

    def finish(self) -> None:
        """Raise RecipeCorrupt unless both streams were used up."""
        if self._zeros or self._at != len(self._control) or self._used != len(self._data):
            raise self._corrupt("streams are longer than the tar")

    def _corrupt(self, reason: str) -> RecipeCorrupt:
        return RecipeCorrupt("recipe's literal bytes are damaged", reason=reason, offset=self._at)

    def _byte(self) -> int:
        if self._at >= len(self._control):
            raise self._corrupt("control stream ends early")
        self._at += 1
        return self._control[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        part = self._data[self._used : self._used + size]
        if len(part) < size:
            raise self._corrupt("data stream ends early")
        self._used += size
        return part

    def _run(self, count: int) -> int:
        if count == LONG_RUN:
            tail = self._control[self._at : self._at + 6]
            if len(tail) < 6:
                raise self._corrupt("control stream ends early")
            self._at += 6
            return LONG_RUN + int.from_bytes(tail, "little")
        if not count:
            raise self._corrupt("empty run")
        return count

    def _diff(self, code: int, size: int) -> bytes:
        form = code >> SIZE_SHIFT
        if form == 3 or (form and not 0 < size < _OCTAL_SIZE_LIMIT):
            raise self._corrupt("impossible size")
        block = bytearray(self._history[code >> 2 & (HISTORY - 1)])
        runs = self._byte()
        control = self._control[self._at : self._at + 2 * runs]
        if len(control) < 2 * runs:
            raise self._corrupt("control stream ends early")
        self._at += 2 * runs
        at = 0
        for skip, length in zip(control[0::2], control[1::2], strict=True):
            at += skip
            if at + length > BLOCK:
                raise self._corrupt("change beyond the block")
            block[at : at + length] = self._bytes(length)
            at += length
        _derive(block, code, size)
        return bytes(block)
