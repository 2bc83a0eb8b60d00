"""bzip2 files: libbzip2's output depends on the level only, which each stream's header tells.

Recipe (version 1): stream count, then per stream: level, plain length. Files of several streams (pbzip2)
are kept as such.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import (
    MAX_OUTPUT,
    MIB,
    Allowance,
    Cost,
    CpuClass,
    Data,
    RecipeInvalid,
    SelfTestFailed,
    Split,
    blocks,
    decode_all,
    only_stream,
    same,
)
from smidgen_deltas.wire import WireReader, put_varint

MAGIC: Final = b"BZh"
MAX_STREAMS: Final = 1 << 16


class Bzip2Unpacker:
    """One or more bzip2 streams <-> their plain bytes."""

    name: ClassVar[str] = "bzip2"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = True

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:3]) == MAGIC

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        plain = bytearray()
        streams: list[tuple[int, int]] = []
        at = 0
        while at < len(data):
            if len(streams) == MAX_STREAMS or not 0x31 <= int.from_bytes(data[at + 3 : at + 4], "little") <= 0x39:
                return None
            try:
                part, used = _decode(data[at:], allowance, len(plain))
            except (OSError, EOFError, ValueError):
                return None
            level = data[at + 3] - 0x30
            if not same(_encode(level, memoryview(part), allowance), data[at : at + used]):
                return None
            streams.append((level, len(part)))
            plain += part
            at += used
        return Split(_encode_recipe(streams), (bytes(plain),)) if streams else None

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        try:
            return (decode_all(bz2.BZ2Decompressor, data, limit),)
        except (OSError, EOFError) as error:
            raise RecipeInvalid("damaged bzip2 file", reason=str(error)) from error

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        parts, view = _decode_recipe(recipe), memoryview(only_stream(streams))
        if sum(size for _, size in parts) != len(view):
            raise RecipeInvalid("bzip2 recipe does not fit its stream", found=len(view))
        at = 0
        for level, size in parts:
            yield from _encode(level, view[at : at + size], None)
            at += size

    def cost(self, recipe: bytes) -> Cost:
        _decode_recipe(recipe)
        return Cost(CpuClass.HEAVY, 0.1, 8 * MIB)

    def self_test(self) -> str:
        view = memoryview(vectors.plain(200_000))
        for level, expected in vectors.BZIP2_DIGESTS.items():
            if vectors.digest(_encode(level, view, None)) != expected:
                raise SelfTestFailed("libbzip2 encodes to other bytes", level=level)
        return f"levels {', '.join(map(str, vectors.BZIP2_DIGESTS))}"


def _decode(data: memoryview, allowance: Allowance, before: int) -> tuple[bytes, int]:
    """The first stream's content and its compressed length."""
    decoder = bz2.BZ2Decompressor()
    out = bytearray()
    fed = 0
    for block in blocks(data):
        out += decoder.decompress(block)
        fed += len(block)
        allowance.check(before + len(out))
        if decoder.eof:
            return bytes(out), fed - len(decoder.unused_data)
    raise EOFError("truncated bzip2 stream")


def _encode(level: int, plain: memoryview, allowance: Allowance | None) -> Iterator[bytes]:
    encoder = bz2.BZ2Compressor(level)
    for block in blocks(plain):
        if allowance:
            allowance.check()
        if out := encoder.compress(block):
            yield out
    yield encoder.flush()


def _encode_recipe(streams: list[tuple[int, int]]) -> bytes:
    out = bytearray()
    put_varint(out, len(streams))
    for level, size in streams:
        out.append(level)
        put_varint(out, size)
    return bytes(out)


def _decode_recipe(recipe: bytes) -> list[tuple[int, int]]:
    reader = WireReader(recipe, "bzip2 recipe")
    streams = []
    for _ in range(reader.number(min(MAX_STREAMS, len(recipe)), "stream count")):
        level = reader.number(9, "level")
        streams.append((level, reader.number(MAX_OUTPUT, "plain length")))
    reader.done()
    if any(level < 1 for level, _ in streams):
        raise RecipeInvalid("bzip2 recipe has level 0")
    return streams
