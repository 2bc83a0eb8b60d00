"""zstd files of one or several frames that libzstd can encode again to the same bytes.

Recipe (version 1): setting count, settings (see ZstdSetting.put), frame count, then per frame: setting number (left
out when there is only one setting), plain length.

A setting is a compression level with what the frame header tells: checksum, content size, window. libzstd writes other
bytes in its multi-threaded mode (any number of workers gives the same), so that is part of the setting. Frames of other
encoders (Go's, for one) are not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.scratch import collect
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
from smidgen_deltas.engine.unpackers.zstd_library import Encoder, Library, find
from smidgen_deltas.wire import WireReader, put_varint

MAGIC: Final = b"\x28\xb5\x2f\xfd"
MAX_FRAMES: Final = 1 << 16
MAX_WINDOW_LOG: Final = 27  # the largest that stock decoders take; level 22 needs it
_NEGATIVE: Final = 7  # levels -7..22 are stored as 0..29
_LEVELS: Final = (
    3,
    19,
    22,
    1,
    9,
    15,
    6,
    10,
    12,
    18,
    2,
    4,
    5,
    7,
    8,
    11,
    13,
    14,
    16,
    17,
    20,
    21,
    -1,
    -2,
    -3,
    -4,
    -5,
    -6,
    -7,
)
_LONG_LEVELS: Final = (3, 19, 9, 10, 15, 1)
_LEAST_TABLES: Final[dict[int, int]] = {  # asking level 22 for its window would clear 700 MB of tables
    zstd.Parameter.hash_log: 10,
    zstd.Parameter.chain_log: 10,
    zstd.Parameter.strategy: 1,
}
SMALL: Final = 1 << 18  # bytes; for contents of known size up to this, levels have other parameters
PROBE: Final = 1 << 17  # bytes encoded to see whether a setting is worth a full run
# Bytes that an encoder takes, measured: from a level on its tables and window, and what each thread adds, which holds
# a job of four windows, as far as there is so much.
_MEMORY: Final = ((22, 800 * MIB), (21, 224 * MIB), (20, 160 * MIB), (18, 96 * MIB), (13, 48 * MIB), (-7, 24 * MIB))
_THREADED: Final = ((20, 256 * MIB), (16, 192 * MIB), (-7, 112 * MIB))
_LONG: Final = 192 * MIB  # for a window of 2 ** MAX_WINDOW_LOG and the table of long matches
_SECONDS: Final = {22: 0.6, 21: 0.5, 20: 0.45, 19: 0.4, 18: 0.35, 17: 0.3, 16: 0.25, 15: 0.15, 14: 0.12, 13: 0.12}


@dataclass(frozen=True, slots=True)
class ZstdSetting:
    """How one frame was made. `window_log` 0 means what the level gives."""

    level: int
    threaded: bool
    checksum: bool
    sized: bool
    window_log: int
    long_distance: bool

    def put(self, out: bytearray) -> None:
        flags = self.threaded | self.checksum << 1 | self.sized << 2 | self.long_distance << 3
        out += bytes((self.level + _NEGATIVE, flags, self.window_log))

    @classmethod
    def read(cls, reader: WireReader) -> ZstdSetting:
        level, flags, window_log = reader.take(3)
        if level > 22 + _NEGATIVE or flags > 15 or window_log and not 10 <= window_log <= MAX_WINDOW_LOG:
            raise RecipeInvalid("zstd recipe is out of range")
        return cls(level - _NEGATIVE, bool(flags & 1), bool(flags & 2), bool(flags & 4), window_log, bool(flags & 8))

    @property
    def memory(self) -> int:
        """Bytes that encoding takes, about."""
        own, added = (next(size for level, size in table if self.level >= level) for table in (_MEMORY, _THREADED))
        return own + added * self.threaded + _LONG * (self.window_log > 0)

    def encoder(self, library: Library, size: int) -> Encoder:
        """For a frame of `size` plain bytes. RecipeInvalid when libzstd refuses the parameters."""
        options: dict[int, int] = {
            zstd.Parameter.compression_level: self.level,
            zstd.Parameter.nb_workers: int(self.threaded),
            zstd.Parameter.checksum_flag: int(self.checksum),
            zstd.Parameter.content_size_flag: int(self.sized),
        }
        if self.window_log:
            options[zstd.Parameter.window_log] = self.window_log
        if self.long_distance:
            options[zstd.Parameter.enable_long_distance_matching] = 1
        return library.encoder(options, size if self.sized else None)


@dataclass(frozen=True, slots=True)
class Header:
    """What a frame header tells (RFC 8878 3.1.1.1)."""

    checksum: bool
    size: int | None
    window_log: int  # 0 for a single segment or a window that is no power of two

    def may_have(self, window_log: int) -> bool:
        """Whether settings with this window can give this header.

        libzstd takes other settings for small contents whose size it knows, and writes no window where it holds all.
        """
        if self.size is None:
            return self.window_log == window_log
        if self.size <= SMALL:
            return True
        return self.window_log == window_log if self.window_log else 1 << window_log >= self.size


def read_header(frame: memoryview) -> Header | None:
    """None for skippable frames, dictionaries and anything reserved."""
    if len(frame) < 9 or bytes(frame[:4]) != MAGIC:
        return None
    descriptor = frame[4]
    single = bool(descriptor & 0x20)
    if descriptor & 0x0B:  # reserved bit, or a dictionary id
        return None
    at = 5 if single else 6
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    if len(frame) < at + size_bytes:
        return None
    size = int.from_bytes(frame[at : at + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    window = frame[5]
    window_log = 0 if single or window & 7 else 10 + (window >> 3)
    return Header(bool(descriptor & 4), size if size_bytes else None, window_log)


class ZstdUnpacker:
    """One or more zstd frames <-> their plain bytes, as one version of libzstd writes them."""

    proves_itself: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def __init__(self, name: str, libzstd: str) -> None:
        self.name = name
        self._libzstd = libzstd

    def sniff(self, data: memoryview) -> bool:
        return bytes(data[:4]) == MAGIC and find(self._libzstd) is not None

    def unpack(self, data: memoryview, allowance: Allowance) -> Split | None:
        library = self._library()
        frames: list[tuple[ZstdSetting, int]] = []
        plain: list[Data] = []
        left = allowance.budget.output
        at = 0
        try:
            while at < len(data) and len(frames) < MAX_FRAMES:
                end = at + zstd.frame_size(data[at:])
                part = decode_all(zstd.Decompressor, data[at:end], left)
                found = _find(library, data[at:end], part, frames[-1][0] if frames else None, allowance)
                if not found:
                    return None
                frames.append((found, len(part)))
                plain.append(part)
                left -= len(part)
                at = end
        except (zstd.ZstdError, MemoryError):
            return None
        return Split(_encode_recipe(frames), (_joined(plain),)) if at == len(data) else None

    def reveal(self, data: memoryview, limit: int) -> tuple[Data, ...]:
        try:
            return (decode_all(zstd.Decompressor, data, limit),)
        except (zstd.ZstdError, EOFError) as error:
            raise RecipeInvalid("damaged zstd file", reason=str(error)) from error

    def repack(self, recipe: bytes, streams: Sequence[Data]) -> Iterator[bytes]:
        frames, view = decode_recipe(recipe), memoryview(only_stream(streams))
        if sum(size for _, size in frames) != len(view):
            raise RecipeInvalid("zstd recipe does not fit its stream", found=len(view))
        at, library = 0, self._library()
        for setting, size in frames:
            yield from encode_frame(library, setting, view[at : at + size], None)
            at += size

    def cost(self, recipe: bytes) -> Cost:
        frames = decode_recipe(recipe)
        level = max(setting.level for setting, _ in frames)
        cpu = CpuClass.LIGHT if level < 13 else CpuClass.HEAVY if level < 22 else CpuClass.EXTREME
        return Cost(cpu, _SECONDS.get(level, 0.02), max(setting.memory for setting, _ in frames))

    def self_test(self) -> str:
        library = self._library()
        plain = memoryview(vectors.plain(300_000))
        expected = vectors.ZSTD_DIGESTS[self._libzstd]
        for (level, threaded), digest in expected.items():
            setting = ZstdSetting(level, threaded, checksum=True, sized=False, window_log=0, long_distance=False)
            if vectors.digest(encode_frame(library, setting, plain, None)) != digest:
                raise SelfTestFailed("libzstd encodes to other bytes", level=level, libzstd=library.version)
        return f"libzstd {library.version}, {len(expected)} settings"

    def _library(self) -> Library:
        library = find(self._libzstd)
        if not library:
            raise SelfTestFailed("this version of libzstd is not here", libzstd=self._libzstd)
        return library


def _joined(parts: Sequence[Data]) -> Data:
    return parts[0] if len(parts) == 1 else collect(parts)


def encode_frame(
    library: Library, setting: ZstdSetting, plain: memoryview, allowance: Allowance | None
) -> Iterator[bytes]:
    """One frame, fed in blocks as the zstd program does."""
    encoder = setting.encoder(library, len(plain))
    for block in blocks(plain):
        if allowance:
            allowance.check()
        if out := encoder.feed(block):
            yield out
    yield encoder.finish()


def _encode_recipe(frames: list[tuple[ZstdSetting, int]]) -> bytes:
    settings = list(dict.fromkeys(setting for setting, _ in frames))
    out = bytearray()
    put_varint(out, len(settings))
    for setting in settings:
        setting.put(out)
    put_varint(out, len(frames))
    for setting, size in frames:
        if len(settings) > 1:
            put_varint(out, settings.index(setting))
        put_varint(out, size)
    return bytes(out)


def decode_recipe(recipe: bytes) -> list[tuple[ZstdSetting, int]]:
    """Frames as (setting, plain length); a FormatError unless everything is in range."""
    reader = WireReader(recipe, "zstd recipe")
    settings = [ZstdSetting.read(reader) for _ in range(reader.number(len(recipe), "setting count"))]
    frames = []
    for _ in range(reader.number(min(MAX_FRAMES, len(recipe)), "frame count")):
        number = reader.number(len(settings) - 1, "setting") if len(settings) > 1 else 0
        frames.append((number, reader.number(MAX_OUTPUT, "plain length")))
    reader.done()
    if not frames or not settings:
        raise RecipeInvalid("zstd recipe without frames")
    return [(settings[number], size) for number, size in frames]


def _find(
    library: Library, frame: memoryview, plain: Data, usual: ZstdSetting | None, allowance: Allowance
) -> ZstdSetting | None:
    """The setting that gives `frame`, trying first the one that the frame before had."""
    header = read_header(frame)
    if not header or header.size not in (None, len(plain)):
        return None
    view = memoryview(plain)
    fits = usual is not None and usual.sized == (header.size is not None)
    if usual and fits:
        with allowance.encoder(usual.memory):
            if same(encode_frame(library, usual, view, allowance), frame):
                return usual
    for setting in candidates(library, header):
        allowance.check()
        if not allowance.affords(setting.memory):
            continue
        with allowance.encoder(setting.memory):
            if not promising(library, setting, view, frame, len(view)):
                continue
        for found in (replace(setting, threaded=True), setting):
            if allowance.affords(found.memory):
                with allowance.encoder(found.memory):
                    if same(encode_frame(library, found, view, allowance), frame):
                        return found
    return None


def candidates(library: Library, header: Header) -> Iterator[ZstdSetting]:
    """Levels whose window is the one in the header, the usual ones first; single-threaded.

    A level is not tried in vain: level 22 alone takes 800 MB and seconds before its first byte.
    """
    base = ZstdSetting(
        3, threaded=False, checksum=header.checksum, sized=header.size is not None, window_log=0, long_distance=False
    )
    for level in _LEVELS:
        if header.may_have(_level_window(library.version, level)):
            yield replace(base, level=level)
    if header.may_have(MAX_WINDOW_LOG):  # --long
        for level in _LONG_LEVELS:
            yield replace(base, level=level, window_log=MAX_WINDOW_LOG, long_distance=True)


@cache
def _level_window(libzstd: str, level: int) -> int:
    """log2 of the window that a level has when the content's size is not known."""
    library = find(libzstd)
    if not library:
        return 0
    options = {zstd.Parameter.compression_level: level, **_LEAST_TABLES}
    encoder = library.encoder(options, None)
    header = read_header(memoryview(encoder.feed(memoryview(bytes(9))) + encoder.finish()))
    return header.window_log if header else 0


def promising(library: Library, setting: ZstdSetting, plain: memoryview, frame: memoryview, size: int) -> bool:
    """Does `plain`, the front of a content of `size` bytes, give the frame's first block?"""
    if len(plain) <= PROBE:
        return True
    encoder = setting.encoder(library, size)
    out = encoder.feed(plain[:PROBE]) + encoder.flush()
    end = first_block_end(frame)
    return len(out) >= end and out[:end] == frame[:end]


def first_block_end(frame: memoryview) -> int:
    """Offset behind the first block's data (RFC 8878 3.1.1.2)."""
    single = bool(frame[4] & 0x20)
    at = (5 if single else 6) + (1 if single else 0, 2, 4, 8)[frame[4] >> 6]
    block = int.from_bytes(frame[at : at + 3], "little")
    return at + 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
