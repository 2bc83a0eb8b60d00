"""Compressing the streams of a frame: LZMA2 with settings for each kind of stream, or zstd for devices short of CPU.

Stored frame: for each of ops, control, diff, extra, literal: one byte of codec, varint raw size, varint stored size;
then the stored streams in that order. Codec 0: as it is; 1: zstd, one frame; 2: raw LZMA2 behind what its filter needs:
one byte lc + 16 * pb, one byte log2 of the dictionary.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.scratch import HELD, gather
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError, LimitExceeded, UnsupportedFeature
from smidgen_deltas.wire import WireReader, put_varint

NAMES: Final = ("ops", "control", "diff", "extra", "literal")
STORED, ZSTD, LZMA2 = range(3)
MAX_DICTIONARY: Final = 26  # log2: 64 MiB; what a decoder accepts
_SETTINGS: Final = {"ops": ((0, 0),), "control": ((0, 0),), "diff": ((3, 0), (0, 2)), "extra": ((3, 2), (0, 2))}
_LITERAL: Final = ((3, 0), (3, 2))
_ZSTD: Final = {"fast": 9, "default": 19, "best": 22}
_DICTIONARY: Final = {"fast": 22, "default": 24, "best": MAX_DICTIONARY}  # log2; the encoder takes 12 times as much
PIECE: Final = 1 << 18  # bytes decoded at a time
_PRESET: Final = {"fast": 1, "default": 6, "best": 9 | lzma.PRESET_EXTREME}


class FrameCorrupt(FormatError):
    """The compressed streams of a frame are damaged."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The decoded streams of a frame."""

    ops: Buffer
    control: Buffer
    diff: Buffer
    extra: Buffer
    literal: Buffer

    def parts(self) -> tuple[Buffer, ...]:
        return (self.ops, self.control, self.diff, self.extra, self.literal)


@dataclass(frozen=True, slots=True)
class Effort:
    """How to compress.

    Args:
        name: "fast", "default" or "best".
        quick: only zstd, which devices decode several times as fast.
        dictionary: log2 of the largest that devices have memory for.
    """

    name: str
    quick: bool = False
    dictionary: int = MAX_DICTIONARY

    def log(self, size: int) -> int:
        """log2 of the dictionary for a stream of so many bytes."""
        return min(max((size - 1).bit_length(), 16), _DICTIONARY[self.name], self.dictionary)

    @property
    def only_zstd(self) -> bool:
        return self.quick or self.name == "fast"

    def packing(self, streams: Streams) -> int:
        """Bytes that `pack` takes beside the streams: one encoder at a time, about 12 times its dictionary."""
        return 0 if self.only_zstd else 12 << max(self.log(len(raw)) for raw in streams.parts())

    def unpacking(self, streams: Streams) -> tuple[int, int]:
        """Bytes of memory and of disk that `unpack` takes beside the stored frame."""
        sizes = [len(raw) for raw in streams.parts()]
        held = sum(size for size in sizes if size <= HELD)
        return held + max(min(size, 1 << self.log(size)) for size in sizes), sum(sizes) - held


def pack(streams: Streams, effort: Effort) -> bytes:
    """The stored form; for each stream the smallest of the codecs that the effort tries."""
    head = bytearray()
    body = []
    for name, raw in zip(NAMES, streams.parts(), strict=True):
        codec, stored = _pack_one(name, raw, effort)
        head.append(codec)
        put_varint(head, len(raw))
        put_varint(head, len(stored))
        body.append(stored)
    return bytes(head) + b"".join(body)


def unpack(stored: bytes, raw_limit: int) -> Streams:
    """Decode a verified frame. Large streams are not held in memory (`engine.scratch`), or are views of the frame.

    Raises LimitExceeded when its streams are larger together than `raw_limit`, before decoding any; FrameCorrupt.
    """
    reader = WireReader(stored, "delta frame")
    sizes = _sizes(reader, len(stored), raw_limit)
    parts = [_unpack_one(codec, reader.view(size), raw) for codec, raw, size in sizes]
    reader.done()
    return Streams(*parts)


def stored_sizes(stored: bytes, raw_limit: int) -> dict[str, int]:
    """Bytes that each stream of a frame takes as stored. Raises as `unpack`."""
    sizes = _sizes(WireReader(stored, "delta frame"), len(stored), raw_limit)
    return {name: size for name, (_, _, size) in zip(NAMES, sizes, strict=True)}


def _sizes(reader: WireReader, limit: int, raw_limit: int) -> list[tuple[int, int, int]]:
    """For each stream its codec, raw size and stored size."""
    sizes = [(reader.take(1)[0], reader.number(raw_limit, name), reader.number(limit, name)) for name in NAMES]
    if sum(raw for _, raw, _ in sizes) > raw_limit:
        raise LimitExceeded("frame is larger than its header says", limit=raw_limit)
    return sizes


def _pack_one(name: str, raw: Buffer, effort: Effort) -> tuple[int, Buffer]:
    candidates: list[tuple[int, Buffer]] = [(STORED, raw)]
    if raw:
        if effort.only_zstd:
            candidates.append((ZSTD, _zstd(raw, effort)))
        else:
            settings = _SETTINGS.get(name, _LITERAL)
            for lc, pb in settings if effort.name == "best" else settings[:1]:
                candidates.append((LZMA2, _lzma(raw, lc, pb, effort)))
            if name == "literal" and len(raw) < 1 << 16:
                candidates.append((ZSTD, zstd.compress(raw, 19)))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def _zstd(raw: Buffer, effort: Effort) -> bytes:
    level = _ZSTD[effort.name]
    if effort.dictionary == MAX_DICTIONARY:
        return zstd.compress(raw, level)
    return zstd.compress(raw, level, window_log=effort.log(len(raw)))


def _lzma(raw: Buffer, lc: int, pb: int, effort: Effort) -> bytes:
    log = effort.log(len(raw))
    data = lzma.compress(raw, format=lzma.FORMAT_RAW, filters=[_filter(lc, pb, log, _PRESET[effort.name])])
    return bytes((lc + 16 * pb, log)) + data


def _filter(lc: int, pb: int, log: int, preset: int) -> dict[str, Any]:
    return {"id": lzma.FILTER_LZMA2, "preset": preset, "lc": lc, "lp": 0, "pb": pb, "dict_size": 1 << log}


def _unpack_one(codec: int, stored: memoryview, raw: int) -> Buffer:
    if codec == STORED:
        if len(stored) != raw:
            raise FrameCorrupt("stored stream has the wrong size", expected=raw, found=len(stored))
        return stored
    if codec == ZSTD:
        if raw <= HELD:
            return zstd.decompress(stored, raw)
        return gather(zstd.stream_decompress(io.BytesIO(stored), raw, block=PIECE), raw)
    if codec != LZMA2:
        raise UnsupportedFeature("unknown codec", codec=codec)
    return gather(_unlzma(stored, raw), raw)


def _unlzma(stored: memoryview, raw: int) -> Iterator[bytes]:
    """Exactly `raw` bytes, or FrameCorrupt."""
    if len(stored) < 3:
        raise FrameCorrupt("LZMA2 stream without settings")
    lc, pb, log = stored[0] % 16, stored[0] // 16, stored[1]
    if lc > 4 or pb > 4 or not 12 <= log <= MAX_DICTIONARY:
        raise FrameCorrupt("LZMA2 settings out of range", lc=lc, pb=pb, dictionary=log)
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=[_filter(lc, pb, log, 0)])
    produced, source = 0, io.BytesIO(stored)
    source.seek(2)
    while not decoder.eof:
        block = source.read(PIECE) if decoder.needs_input else b""
        if decoder.needs_input and not block:
            break
        try:
            out = decoder.decompress(block, PIECE)
        except lzma.LZMAError as error:
            raise FrameCorrupt("LZMA2 stream is damaged", reason=str(error)) from error
        produced += len(out)
        if produced > raw:
            break
        yield out
    if produced != raw or not decoder.eof or decoder.unused_data or source.read(1):
        raise FrameCorrupt("LZMA2 stream has the wrong size", expected=raw, found=produced)
