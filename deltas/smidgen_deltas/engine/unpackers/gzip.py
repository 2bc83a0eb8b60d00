"""gzip files and zlib streams <-> their plain bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import (
    BLOCK,
    MIB,
    Allowance,
    Cost,
    CpuClass,
    Data,
    RecipeInvalid,
    SelfTestFailed,
    Split,
    blocks,
    only_stream,
)
from smidgen_deltas.engine.unpackers.deflate import DeflateAnalyzer, DeflateRecipe, rebuild
from smidgen_deltas.engine.unpackers.deflate_models import MODELS
from smidgen_deltas.engine.unpackers.gzip_stream import MAGIC, GzipAnalyzer, GzipRecipe, rebuild_gzip
from smidgen_deltas.errors import LimitExceeded

_DEFLATE_MEMORY: Final = 20 * MIB  # the window, and the tokens of a block at the worst


def deflate_cost(recipes: Sequence[DeflateRecipe]) -> Cost:
    """Of rebuilding deflate streams: the slowest one's level decides."""
    chain = max((MODELS[recipe.model].chain for recipe in recipes), default=0)
    seconds = 0.02 if chain <= 16 else 0.04 if chain <= 128 else 0.12
    return Cost(CpuClass.LIGHT if seconds < 0.05 else CpuClass.HEAVY, seconds, _DEFLATE_MEMORY)


class GzipUnpacker:
    """One or more gzip members <-> all their plain bytes as one stream."""

    name: ClassVar[str] = "gzip"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = False

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:3]) == MAGIC

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        analyzer = GzipAnalyzer(allowance)
        plain = [analyzer.feed(block) for block in blocks(data, BLOCK)]
        plain.append(analyzer.close())
        return Split(analyzer.recipe().encode(), (b"".join(plain),))

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        return (inflate_members(data, limit),)

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        return rebuild_gzip(GzipRecipe.decode(recipe), (only_stream(streams),))

    def cost(self, recipe: bytes) -> Cost:
        return deflate_cost([member.deflate for member in GzipRecipe.decode(recipe).members])

    def self_test(self) -> str:
        plain = vectors.plain(80_000)
        for number, model in enumerate(MODELS):
            recipe = DeflateRecipe(number, model.codes, model.joined)
            if vectors.digest(rebuild(recipe, (plain,))) != vectors.DEFLATE_DIGESTS[model.name]:
                raise SelfTestFailed("deflate model gives other bytes", model=model.name)
        return f"{len(MODELS)} encoder models"


class ZlibUnpacker:
    """A zlib stream (RFC 1950) without a dictionary <-> its plain bytes. Recipe: two header bytes, a deflate recipe."""

    name: ClassVar[str] = "zlib"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = False

    def sniff(self, data: memoryview) -> bool:
        return len(data) > 8 and _is_header(data[0], data[1])

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        analyzer = DeflateAnalyzer(allowance)
        plain = [analyzer.feed(block) for block in blocks(data[2:-4])]
        plain.append(analyzer.close())
        whole = b"".join(plain)
        if analyzer.unused() or _adler(whole) != data[-4:]:
            return None
        return Split(bytes(data[:2]) + analyzer.recipe().encode(), (whole,))

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        return (inflate(data, zlib.MAX_WBITS, limit)[0],)

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        deflate = _zlib_recipe(recipe)
        plain = only_stream(streams)
        yield recipe[:2]
        yield from rebuild(deflate, (plain,))
        yield _adler(plain)

    def cost(self, recipe: bytes) -> Cost:
        return deflate_cost([_zlib_recipe(recipe)])

    def self_test(self) -> str:
        plain = vectors.plain(50_000)
        recipe = b"\x78\x9c" + DeflateRecipe(model=5, builder=0).encode()
        if zlib.decompress(b"".join(self.repack(recipe, (plain,)))) != plain:
            raise SelfTestFailed("zlib stream is not rebuilt")
        return "header and checksum"


def inflate(data: Data, bits: int, limit: int) -> tuple[bytes, bytes]:
    """(content, what follows it) of one zlib, gzip or raw stream. RecipeInvalid, LimitExceeded."""
    decoder = zlib.decompressobj(bits)
    try:
        out = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise RecipeInvalid("damaged deflate data", reason=str(error)) from error
    if len(out) > limit:
        raise LimitExceeded("content is larger than allowed", limit=limit)
    if not decoder.eof:
        raise RecipeInvalid("deflate data ends early", produced=len(out))
    return out, decoder.unused_data


def inflate_members(data: memoryview, limit: int) -> bytes:
    """The content of all gzip members; what follows the last one is left out."""
    out = bytearray()
    rest: Data = data
    while not out or rest[:3] == MAGIC:
        part, rest = inflate(rest, 16 + zlib.MAX_WBITS, limit - len(out))
        out += part
        if not rest:
            break
    return bytes(out)


def _is_header(method: int, flags: int) -> bool:
    """RFC 1950 2.2: deflate, a window of at most 32 KiB, the check of both bytes, no dictionary."""
    return method & 15 == 8 and method >> 4 <= 7 and (method << 8 | flags) % 31 == 0 and not flags & 0x20


def _adler(plain: Data) -> bytes:
    return zlib.adler32(plain).to_bytes(4, "big")


def _zlib_recipe(recipe: bytes) -> DeflateRecipe:
    if len(recipe) < 2 or not _is_header(recipe[0], recipe[1]):
        raise RecipeInvalid("zlib recipe without a header")
    return DeflateRecipe.decode(recipe[2:])
