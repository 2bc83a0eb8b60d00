"""Building packs and reading their frames.

A builder gets contents one after the other and hands out finished packs; it holds at most one pack and one frame in
memory (about MAX_PACK + MAX_FRAME_RAW bytes), whatever the size of a content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, SizeMismatch
from smidgen_deltas.native.packmap import CHECK_SIZE, MAX_PACK, Frame

GROUP: Final = 128 << 10  # raw bytes of small files that share a frame: one file missing costs at most this much more
SEGMENT: Final = 4 << 20  # a larger file is cut, so that one frame bounds the memory of a reader
_FULL: Final = MAX_PACK - SEGMENT - (64 << 10)  # no further frame is begun beyond; the next one may be incompressible


@dataclass(frozen=True, slots=True)
class Run:
    """Raw bytes `start`..`start`+`length` of the content with this sha256, somewhere in a frame."""

    sha256: bytes
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class BuiltFrame:
    """A frame of a built pack; offsets and sizes in bytes, check as in packmap.Frame."""

    offset: int
    size: int
    raw_size: int
    check: bytes
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class BuiltPack:
    """A finished pack: its bytes (concatenated zstd frames) and what is in them."""

    data: bytes
    frames: tuple[BuiltFrame, ...]


@dataclass(slots=True)
class PackBuilder:
    """Turns contents into packs. The same contents in the same order always give the same packs.

    Args:
        level: zstd level of the frames.
    """

    level: int = 9
    _pack: bytearray = field(default_factory=bytearray)
    _frames: list[BuiltFrame] = field(default_factory=list)
    _raw: bytearray = field(default_factory=bytearray)
    _runs: list[Run] = field(default_factory=list)

    def add(self, sha256: bytes, size: int, chunks: Iterable[bytes]) -> Iterator[BuiltPack]:
        """Add one content; yield each pack that became full.

        The generator must be exhausted. Raises SizeMismatch or DigestMismatch when `chunks` are not the content; the
        builder is then unusable.
        """
        if self._raw and len(self._raw) + size > GROUP:
            yield from self._end_frame()
        hasher = hashlib.sha256()
        start = done = 0
        for chunk in chunks:
            hasher.update(chunk)
            done += len(chunk)
            if done > size:
                break
            view = memoryview(chunk)
            while view:
                room = SEGMENT - len(self._raw)
                self._raw += view[:room]
                view = view[room:]
                if len(self._raw) == SEGMENT:
                    start = yield from self._cut(sha256, start)
        if done != size:
            raise SizeMismatch("content is not as long as promised", digest=sha256.hex(), expected=size, found=done)
        if hasher.digest() != sha256:
            raise DigestMismatch("content does not match its digest", expected=sha256.hex(), found=hasher.hexdigest())
        if size > start:
            self._runs.append(Run(sha256, start, size - start))
        if len(self._raw) >= GROUP:
            yield from self._end_frame()

    def finish(self) -> Iterator[BuiltPack]:
        """Yield the last pack, if there is anything in it."""
        yield from self._end_frame()
        if self._pack:
            yield self._end_pack()

    def _cut(self, sha256: bytes, start: int) -> Generator[BuiltPack, None, int]:
        """End a frame inside a content; returns (by `yield from`) where the next segment begins."""
        length = len(self._raw) - sum(run.length for run in self._runs)
        self._runs.append(Run(sha256, start, length))
        yield from self._end_frame()
        return start + length

    def _end_frame(self) -> Iterator[BuiltPack]:
        if not self._runs:
            return
        stored = zstd.compress(self._raw, self.level)
        check = hashlib.sha256(stored).digest()[:CHECK_SIZE]
        self._frames.append(BuiltFrame(len(self._pack), len(stored), len(self._raw), check, tuple(self._runs)))
        self._pack += stored
        self._raw, self._runs = bytearray(), []
        if len(self._pack) > _FULL:
            yield self._end_pack()

    def _end_pack(self) -> BuiltPack:
        built = BuiltPack(bytes(self._pack), tuple(self._frames))
        self._pack, self._frames = bytearray(), []
        return built


def open_frame(frame: Frame, stored: bytes | memoryview) -> bytes:
    """The raw bytes of a frame, checked before and after decoding.

    Raises:
        SizeMismatch, DigestMismatch: `stored` is not the frame that the map names.
        ZstdInvalid, LimitExceeded: it does not decode to exactly `raw_size` bytes.
    """
    if len(stored) != frame.size:
        raise SizeMismatch("frame is not as long as its map says", expected=frame.size, found=len(stored))
    found = hashlib.sha256(stored).digest()[:CHECK_SIZE]
    if found != frame.check:
        raise DigestMismatch(
            "frame does not match its map", expected=frame.check.hex(), found=found.hex(), offset=frame.offset
        )
    return zstd.decompress(stored, frame.raw_size)


def pack_digest(pack: BuiltPack) -> Digest:
    """The name under which a pack is served."""
    return Digest.of(pack.data)
