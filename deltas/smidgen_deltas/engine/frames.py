"""Grouping coded files in frames, and compressing frames while the next one is filled.

Memory: the frame that is being filled and those being compressed (at most two), but not large streams, which lie in
files (`engine.scratch`); and the encoder: about 12 times its dictionary, which is at most the frame.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import IO, Final

from smidgen_deltas.engine import coding
from smidgen_deltas.engine.gate import OPEN, Gate
from smidgen_deltas.engine.profile import Profile
from smidgen_deltas.engine.scratch import collect
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.native.delta import Cpu, FrameInfo, Transform
from smidgen_deltas.native.delta_ops import Part, TargetOp, encode_op

FRAME_RAW: Final = 16 << 20
_IN_WORK: Final = 2
_SHARE: Final = 16  # a frame is full at this part of the device's memory: with one more file in it, it takes half


@dataclass(frozen=True, slots=True)
class Needs:
    """What rebuilding takes on the device: bytes of memory and of disk beside the streams, and the class of work."""

    memory: int = 0
    scratch: int = 0
    cpu: Cpu = Cpu.NONE

    def together(self, other: Needs) -> Needs:
        """Both, at the same time."""
        return Needs(self.memory + other.memory, self.scratch + other.scratch, max(self.cpu, other.cpu))

    def either(self, other: Needs) -> Needs:
        """One after the other."""
        return Needs(max(self.memory, other.memory), max(self.scratch, other.scratch), max(self.cpu, other.cpu))


@dataclass(frozen=True, slots=True)
class Coded:
    """An operation and what it puts into the streams of its frame.

    Args:
        weight: estimate of the bytes it will cost.
        needs: of the device.
        seconds: of one core, that encoding again takes.
    """

    op: TargetOp
    control: Buffer = b""
    diff: Buffer = b""
    extra: Buffer = b""
    literal: Buffer = b""
    weight: int = 0
    needs: Needs = Needs()
    seconds: float = 0.0

    @property
    def raw(self) -> int:
        return len(self.control) + len(self.diff) + len(self.extra) + len(self.literal)


class FrameWriter:
    """Collects coded files and writes a frame whenever the streams are large enough."""

    def __init__(self, out: IO[bytes], effort: str, profile: Profile, executor: Executor, gate: Gate = OPEN) -> None:
        self.infos: list[FrameInfo] = []
        self.transforms: dict[Transform, int] = {}
        self.needs = Needs()
        self.seconds = 0.0
        self._out = out
        self._limit = min(FRAME_RAW, profile.memory // _SHARE)
        self._effort = coding.Effort(effort, profile.quick, min(coding.MAX_DICTIONARY, self._limit.bit_length() - 1))
        self._executor = executor
        self._gate = gate
        self._packing: deque[_Packing] = deque()
        self._frame = Needs()
        self._start()

    def _start(self) -> None:
        self._ops = bytearray()
        self._streams: list[list[Buffer]] = [[] for _ in range(4)]
        self._size = 0
        self._count = 0

    def add(self, coded: Coded, *, complete: bool = True) -> None:
        """The next operation. complete: whether its target ends with it."""
        if not isinstance(coded.op, Part) and self._size and self._size + coded.raw > 2 * self._limit:
            self.end()
        encode_op(self._ops, coded.op, self.transforms)
        parts = (coded.control, coded.diff, coded.extra, coded.literal)
        for stream, part in zip(self._streams, parts, strict=True):
            stream.append(part)
        self._size += coded.raw
        self.needs = self.needs.either(coded.needs)
        self.seconds += coded.seconds
        self._count += complete
        if self._size >= self._limit:
            self.end(inside=not complete)

    def end(self, *, inside: bool = False) -> None:
        """Close the frame if there is anything in it."""
        if not self._ops:
            return
        streams = coding.Streams(bytes(self._ops), *map(collect, self._streams))
        raw = sum(len(part) for part in streams.parts())
        needs = Needs(*self._effort.unpacking(streams))
        self._packing.append(_Packing(self._executor.submit(self._pack, streams), raw, self._count, inside, needs))
        self._start()
        while len(self._packing) > _IN_WORK:
            self._write()

    def _pack(self, streams: coding.Streams) -> bytes:
        with self._gate.hold(self._effort.packing(streams)):
            return coding.pack(streams, self._effort)

    def finish(self) -> None:
        """Close the last frame and wait for all."""
        self.end()
        while self._packing:
            self._write()

    def all_needs(self) -> Needs:
        """What the whole delta takes on the device: one frame, stored and decoded, and one target in work."""
        return self.needs.together(self._frame)

    def _write(self) -> None:
        packing = self._packing.popleft()
        stored = packing.stored.result()
        digest = hashlib.sha256(stored).digest()
        self.infos.append(FrameInfo(len(stored), packing.raw, packing.count, digest, packing.inside))
        self._frame = self._frame.either(packing.needs.together(Needs(2 * len(stored))))
        self._out.write(stored)


@dataclass(frozen=True, slots=True)
class _Packing:
    """A frame that is being compressed. needs: for decoding it, beside what is stored."""

    stored: Future[bytes]
    raw: int
    count: int
    inside: bool
    needs: Needs
