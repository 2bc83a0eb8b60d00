"""xz files, single- and multi-block, whose LZMA2 data liblzma can encode again to the same bytes.

The recipe (version 1) holds no framing: header, sizes, checks and index are written anew, and a file whose framing
is not what we would write is not taken. So files made by one build have nearly identical recipes.

    check type, header flags (bit 0 packed size, bit 1 plain size), block header size,
    filter chain but LZMA2 (count, filters), LZMA2 dictionary byte, lc + 9 * (lp + 5 * pb), encoder setting,
    block size (0: everything in one block)

Encoder settings are liblzma's presets without what the file tells by itself (dictionary, lc, lp, pb): many presets
share one. The encoder's output depends on liblzma's version only in details that the self-test would show.
"""

from __future__ import annotations

import lzma
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.base import (
    BLOCK,
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
from smidgen_deltas.engine.unpackers.xz_format import (
    CHECK_SIZES,
    LZMA2,
    MAGIC,
    Block,
    Filter,
    XzStream,
    block_header,
    block_trailer,
    index_and_footer,
    parse_filter,
    parse_stream,
    put_filter,
    stream_header,
)
from smidgen_deltas.wire import WireReader, put_varint

MAX_DICT_BYTE: Final = 30  # 128 MiB; encoding with more takes gigabytes and nobody does it
REVEAL_MEMORY: Final = 512 * MIB
_BCJ_IDS: Final = frozenset((4, 5, 6, 7, 8, 9))
_DELTA_ID: Final = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """An encoder's speed setting: the part of a preset that the file does not tell."""

    fast: bool
    nice: int
    finder: int
    depth: int
    cost: float  # seconds per MiB of a kernel or its modules, about; of what compresses worse up to twice as many


SETTINGS: Final = (  # the position is part of the recipe format: never reorder, only append
    Setting(False, 64, lzma.MF_BT4, 0, 0.3),  # presets 6 to 9
    Setting(False, 273, lzma.MF_BT4, 512, 1.2),  # 0e to 9e but 3e and 5e
    Setting(False, 32, lzma.MF_BT4, 0, 0.25),  # 5
    Setting(False, 16, lzma.MF_BT4, 0, 0.2),  # 4
    Setting(True, 273, lzma.MF_HC4, 48, 0.16),  # 3
    Setting(True, 273, lzma.MF_HC4, 24, 0.1),  # 2
    Setting(True, 128, lzma.MF_HC4, 8, 0.06),  # 1
    Setting(True, 128, lzma.MF_HC3, 4, 0.04),  # 0
    Setting(False, 192, lzma.MF_BT4, 0, 0.8),  # 3e and 5e
)


@dataclass(frozen=True, slots=True)
class XzRecipe:
    """Everything the encoder and the framing need beside the plain bytes."""

    check: int
    has_packed: bool
    has_plain: bool
    header_size: int
    prefilters: tuple[Filter, ...]
    dict_byte: int
    lclppb: int
    setting: int
    block_size: int

    def encode(self) -> bytes:
        out = bytearray((self.check, self.has_packed | self.has_plain << 1))
        put_varint(out, self.header_size)
        put_varint(out, len(self.prefilters))
        for item in self.prefilters:
            put_filter(out, item)
        out += bytes((self.dict_byte, self.lclppb, self.setting))
        put_varint(out, self.block_size)
        return bytes(out)

    @classmethod
    def decode(cls, recipe: bytes) -> XzRecipe:
        """Raise a FormatError unless every field is in range."""
        reader = WireReader(recipe, "xz recipe")
        check, flags = reader.take(2)
        header_size = reader.number(1024, "block header size")
        prefilters = tuple(parse_filter(reader) for _ in range(reader.number(3, "filter count")))
        dict_byte, lclppb, setting = reader.take(3)
        block_size = reader.number(MAX_OUTPUT, "block size")
        reader.done()
        if check not in CHECK_SIZES or flags > 3 or header_size % 4 or header_size < 8:
            raise RecipeInvalid("xz recipe is out of range")
        if dict_byte > MAX_DICT_BYTE or lclppb >= 225 or setting >= len(SETTINGS):
            raise RecipeInvalid("xz recipe is out of range")
        found = cls(
            check, bool(flags & 1), bool(flags & 2), header_size, prefilters, dict_byte, lclppb, setting, block_size
        )
        found.chain()
        return found

    @property
    def dict_size(self) -> int:
        return dict_size(self.dict_byte)

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The chain as it stands in block headers."""
        return (*self.prefilters, Filter(LZMA2, bytes((self.dict_byte,))))

    def chain(self) -> list[dict[str, Any]]:
        """The chain as liblzma wants it; RecipeInvalid for filters that it does not have."""
        lc, rest = self.lclppb % 9, self.lclppb // 9
        if lc + rest % 5 > 4:
            raise RecipeInvalid("xz recipe has literal bits that LZMA2 does not have")
        setting = SETTINGS[self.setting]
        encoder = {
            "id": lzma.FILTER_LZMA2,
            "dict_size": self.dict_size,
            "lc": lc,
            "lp": rest % 5,
            "pb": rest // 5,
            "mode": lzma.MODE_FAST if setting.fast else lzma.MODE_NORMAL,
            "nice_len": setting.nice,
            "mf": setting.finder,
            "depth": setting.depth,
        }
        return [*map(_prefilter, self.prefilters), encoder]


def dict_size(dict_byte: int) -> int:
    """Bytes of dictionary for an LZMA2 properties byte (specification 5.3.1)."""
    return (2 | dict_byte & 1) << (dict_byte // 2 + 11)


def _prefilter(item: Filter) -> dict[str, Any]:
    if item.id == _DELTA_ID and len(item.properties) == 1:
        return {"id": lzma.FILTER_DELTA, "dist": item.properties[0] + 1}
    if item.id in _BCJ_IDS and len(item.properties) in (0, 4):
        return {"id": item.id, "start_offset": int.from_bytes(item.properties, "little")}
    raise RecipeInvalid("xz recipe has a filter that cannot be written", filter=item.id)


class XzUnpacker:
    """One xz stream <-> its plain bytes."""

    name: ClassVar[str] = "xz"
    version: ClassVar[int] = 1
    proves_itself: ClassVar[bool] = True

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:6]) == MAGIC

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        try:
            stream = parse_stream(data)
            allowance.check(sum(block.plain for block in stream.blocks))
            plain = _decode(data, stream, allowance)
        except (lzma.LZMAError, EOFError, MemoryError):
            return None
        for recipe in _candidates(data, stream):
            needed = _memory(recipe)
            if not allowance.affords(needed):
                continue
            with allowance.encoder(needed):
                found = _matches(recipe, stream, plain, data, allowance)
            if found:
                return Split(recipe.encode(), (plain,))
        return None

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        try:
            return (decode_all(lambda: lzma.LZMADecompressor(memlimit=REVEAL_MEMORY), data, limit),)
        except (lzma.LZMAError, EOFError) as error:
            raise RecipeInvalid("damaged xz file", reason=str(error)) from error

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        return _encode(XzRecipe.decode(recipe), only_stream(streams))

    def cost(self, recipe: bytes) -> Cost:
        parsed = XzRecipe.decode(recipe)
        seconds = SETTINGS[parsed.setting].cost
        return Cost(CpuClass.HEAVY if seconds <= 1 else CpuClass.EXTREME, seconds, _memory(parsed))

    def self_test(self) -> str:
        plain = vectors.plain(200_000)
        for setting, expected in enumerate(vectors.XZ_DIGESTS):
            recipe = XzRecipe(1, True, True, 24, (Filter(4, b""),), 16, 93, setting, 1 << 17)
            found = vectors.digest(_encode(recipe, plain))
            if found != expected:
                raise SelfTestFailed("liblzma encodes to other bytes", setting=setting, liblzma=vectors.LIBLZMA)
        return f"{len(vectors.XZ_DIGESTS)} encoder settings, x86 filter, two blocks"


def _decode(data: memoryview, stream: XzStream, allowance: Allowance) -> Data:
    """The plain bytes; LZMAError when damaged, a FormatError when longer or shorter than declared."""
    want, memory = sum(block.plain for block in stream.blocks), allowance.budget.memory
    out = decode_all(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory), data, want)
    if len(out) != want:
        raise RecipeInvalid("xz content is not as long as declared", expected=want, found=len(out))
    return out


def _candidates(data: memoryview, stream: XzStream) -> Iterator[XzRecipe]:
    """Recipes worth trying, the usual ones first; none when blocks are not alike."""
    if not stream.blocks:
        return
    first = stream.blocks[0]
    for block in stream.blocks:
        if _style(block) != _style(first):
            return
    # The first LZMA2 chunk with LZMA data tells lc, lp and pb (specification of LZMA2: control, sizes, properties).
    lclppb = data[first.data_start + 5] if data[first.data_start] >= 0xE0 else 93
    dict_byte = first.filters[-1].properties[0] if len(first.filters[-1].properties) == 1 else 255
    if dict_byte > MAX_DICT_BYTE:
        return
    for size in _block_sizes(stream, dict_size(dict_byte)):
        for setting in range(len(SETTINGS)):
            recipe = XzRecipe(
                stream.check,
                first.has_packed,
                first.has_plain,
                first.header_size,
                first.filters[:-1],
                dict_byte,
                lclppb,
                setting,
                size,
            )
            try:
                yield XzRecipe.decode(recipe.encode())
            except RecipeInvalid:
                return


def _style(block: Block) -> tuple[object, ...]:
    return block.header_size, block.has_packed, block.has_plain, block.filters


def _block_sizes(stream: XzStream, dictionary: int) -> list[int]:
    """The block size that explains the blocks found, if one does."""
    sizes = [block.plain for block in stream.blocks]
    if len(sizes) == 1:
        # Threaded xz cuts at three dictionaries, not below 1 MiB; naming that gives one recipe for all its files.
        usual = max(3 * dictionary, MIB)
        return [usual if stream.blocks[0].has_plain and sizes[0] <= usual else 0]
    regular = all(size == sizes[0] for size in sizes[:-1]) and 0 < sizes[-1] <= sizes[0]
    return [sizes[0]] if regular else []


def _memory(recipe: XzRecipe) -> int:
    return 12 * recipe.dict_size + 16 * MIB


def _encode(recipe: XzRecipe, plain: Data) -> Iterator[bytes]:
    """The whole file, each block encoded by itself."""
    view = memoryview(plain)
    yield stream_header(recipe.check)
    records = []
    size = recipe.block_size or max(len(view), 1)
    chain = recipe.chain()
    for start in range(0, len(view), size):
        block = view[start : start + size]
        parts = _encode_block(chain, block, None)
        if recipe.has_packed:
            held = list(parts)
            packed = sum(map(len, held))
            yield _header(recipe, packed, len(block))
            yield from held
        else:
            yield _header(recipe, 0, len(block))
            packed = yield from _counted(parts)
        yield block_trailer(packed, recipe.check, block)
        records.append((recipe.header_size + packed + CHECK_SIZES[recipe.check], len(block)))
    yield index_and_footer(records, recipe.check)


def _header(recipe: XzRecipe, packed: int, plain: int) -> bytes:
    return block_header(
        recipe.filters,
        recipe.header_size,
        packed=packed if recipe.has_packed else None,
        plain=plain if recipe.has_plain else None,
    )


def _counted(parts: Iterator[bytes]) -> Generator[bytes, None, int]:
    """Hand on the parts; the value is how many bytes they had."""
    total = 0
    for part in parts:
        total += len(part)
        yield part
    return total


def _encode_block(chain: list[dict[str, Any]], block: memoryview, allowance: Allowance | None) -> Iterator[bytes]:
    try:
        encoder = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=chain)
    except (lzma.LZMAError, ValueError, MemoryError) as error:
        raise RecipeInvalid("liblzma refuses the xz recipe", reason=str(error)) from error
    for piece in blocks(block, BLOCK):
        if allowance:
            allowance.check()
        if out := encoder.compress(piece):
            yield out
    yield encoder.flush()


def _matches(recipe: XzRecipe, stream: XzStream, plain: Data, data: memoryview, allowance: Allowance) -> bool:
    """Does the recipe give `data`? Framing first, which is cheap; then the data up to the first difference."""
    if not _framing_matches(recipe, stream, plain, data):
        return False
    view, chain, at = memoryview(plain), recipe.chain(), 0
    for block in stream.blocks:
        packed = data[block.data_start : block.data_start + block.packed]
        if not same(_encode_block(chain, view[at : at + block.plain], allowance), packed):
            return False
        at += block.plain
    return True


def _framing_matches(recipe: XzRecipe, stream: XzStream, plain: Data, data: memoryview) -> bool:
    """Is everything but the LZMA2 data what we would write?"""
    view, at = memoryview(plain), 0
    framing = [stream_header(stream.check)]
    spans = [(0, len(framing[0]))]
    records = []
    for block in stream.blocks:
        trailer = block_trailer(block.packed, stream.check, view[at : at + block.plain])
        framing += [_header(recipe, block.packed, block.plain), trailer]
        behind = block.data_start + block.packed
        spans += [(block.start, block.data_start), (behind, behind + len(trailer))]
        records.append((block.header_size + block.packed + CHECK_SIZES[stream.check], block.plain))
        at += block.plain
    framing.append(index_and_footer(records, stream.check))
    spans.append((len(data) - len(framing[-1]), len(data)))
    return all(data[start:end] == part for (start, end), part in zip(spans, framing, strict=True))
