"""Finding, while a zstd layer streams by, the libzstd setting that writes the same bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers.base import MIB, Allowance, BudgetSpent, RecipeInvalid
from smidgen_deltas.engine.unpackers.zstd import (
    PROBE,
    Header,
    ZstdSetting,
    candidates,
    first_block_end,
    promising,
    read_header,
)
from smidgen_deltas.engine.unpackers.zstd_library import BundledLibrary, Encoder

MAX_LAG: Final = 256 * MIB  # compressed bytes that an encoder may be behind
MAX_RUNNERS: Final = 4


class _Runner:
    """One setting encoding along, as long as it gives the layer's bytes."""

    def __init__(self, setting: ZstdSetting, encoder: Encoder) -> None:
        self.setting = setting
        self._encoder = encoder
        self.at = 0  # compressed bytes given so far

    def feed(self, plain: bytes, layer: _Tape) -> bool:
        return self._compare(self._encoder.feed(memoryview(plain)), layer)

    def finish(self, layer: _Tape) -> bool:
        return self._compare(self._encoder.finish(), layer) and self.at == layer.end

    def _compare(self, out: bytes, layer: _Tape) -> bool:
        same = layer.read(self.at, len(out)) == out
        self.at += len(out)
        return same


class _Tape:
    """The part of the layer that not all runners have passed yet."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0

    @property
    def end(self) -> int:
        return self._start + len(self._data)

    def write(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_LAG:
            raise BudgetSpent("zstd encoder is too far behind", limit=MAX_LAG)

    def read(self, at: int, size: int) -> bytes:
        return bytes(self._data[at - self._start : at - self._start + size])

    def forget(self, before: int) -> None:
        del self._data[: before - self._start]
        self._start = before


class ZstdLayerAnalyzer:
    """feed() the compressed layer, then close() for the setting. RecipeInvalid when libzstd did not write it."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._library = BundledLibrary()
        self._decoder = zstd.Decompressor()
        self._tape = _Tape()
        self._sample = bytearray()
        self._header: Header | None = None
        self._runners: list[_Runner] | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._tape.write(data)
        if self._decoder.eof:
            raise RecipeInvalid("zstd layer has more than one frame")
        while True:
            try:
                plain = self._decoder.decompress(data, MIB)
            except zstd.ZstdError as error:
                raise RecipeInvalid("damaged zstd layer", reason=str(error)) from error
            data = b""
            self._took(plain)
            if self._decoder.eof or (self._decoder.needs_input and not plain) or not plain:
                break
        if self._decoder.unused_data:
            raise RecipeInvalid("zstd layer has more than one frame")

    def _took(self, plain: bytes) -> None:
        self._size += len(plain)
        self._allowance.check(self._size)
        if self._runners is None:
            self._sample += plain
            if len(self._sample) > PROBE:
                self._start()
            return
        self._runners = [runner for runner in self._runners if runner.feed(plain, self._tape)]
        if not self._runners:
            raise RecipeInvalid("zstd layer was not written by this libzstd")
        self._tape.forget(min(runner.at for runner in self._runners))

    def _start(self) -> None:
        """Choose the settings that give the first block, and let them catch up."""
        front = memoryview(self._tape.read(0, self._tape.end))
        header = read_header(front)
        if not header or len(front) < first_block_end(front):
            raise RecipeInvalid("zstd layer with an unusual header")
        sample = memoryview(bytes(self._sample))
        self._sample.clear()
        self._runners = []
        size = header.size or 0
        for setting in candidates(self._library, header):
            self._allowance.check()
            if promising(self._library, setting, sample, front, size):
                for threaded in (True, False):
                    both = replace(setting, threaded=threaded)
                    self._runners.append(_Runner(both, both.encoder(self._library, size)))
            if len(sample) > PROBE and len(self._runners) >= MAX_RUNNERS:
                break
        self._size -= len(sample)
        self._took(bytes(sample))

    def close(self) -> tuple[ZstdSetting, int]:
        """(setting, size of the content)."""
        if not self._decoder.eof:
            raise RecipeInvalid("zstd layer ends early")
        if self._runners is None:
            self._start()
        for runner in self._runners or []:
            if runner.finish(self._tape):
                return runner.setting, self._size
        raise RecipeInvalid("zstd layer was not written by this libzstd")
