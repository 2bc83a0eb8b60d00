"""The smidgen delta: the byte format, nothing else. See DELTA-FORMAT.md.

A header with all bounds and the digests of all frames, then the frames. Each frame is verified before it is decoded and
needs nothing of the frames before it but the files that they rebuilt, so a download resumes at any of them.

Rules enforced here
 * unknown feature bits are refused before anything else is read
 * the header is hashed before it is decoded, frames likewise, and none is larger than the header said
 * frames rebuild all targets, one after another; each frame but the first starts where the one before ended
The operations inside frames are in `native.delta_ops`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.errors import DigestMismatch, FormatError, UnsupportedFeature
from smidgen_deltas.wire import WireReader, put_bytes, put_varint

MAGIC: Final = b"smdelta1"
KNOWN_FEATURES: Final = 0
MAX_HEADER: Final = 64 << 20
MAX_FRAME: Final = 1 << 31
MAX_SIZE: Final = 1 << 48
LEAD: Final = 64  # bytes that surely hold magic, features, sizes and digest of the header


class DeltaCorrupt(FormatError):
    """A delta contradicts itself."""

    code = "DIGEST_INVALID"


class Root(IntEnum):
    """What the delta rebuilds: one plain file, or a tree document and its contents."""

    FILE = 0
    TREE = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A source or target. Targets but the first may be named by `index` into the contents of the first instead."""

    size: int
    sha256: bytes | None = None
    index: int = 0


class Cpu(IntEnum):
    """The most that re-encoding takes on the device, as unpackers class themselves."""

    NONE = 0  # nothing is encoded again
    LIGHT = 1  # over 20 MB/s of unpacked data and core
    HEAVY = 2  # over 1 MB/s
    EXTREME = 3


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """A frame as the header describes it.

    Args:
        size: as stored.
        raw: bytes of its decoded streams together.
        targets: how many targets end in it.
        sha256: of the stored frame.
        open: whether it ends inside a target, which goes on in the next frame.
    """

    size: int
    raw: int
    targets: int
    sha256: bytes
    open: bool = False


@dataclass(frozen=True, slots=True)
class Transform:
    """A named, versioned thing that the applier must be able to do bit for bit."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that is known before the first frame. Sizes in bytes.

    Args:
        memory: most that applying needs beside mapped files.
        scratch: most space that unpacked copies and targets in work need on disk, beside the finished targets.
    """

    root: Root
    memory: int
    scratch: int
    cpu: Cpu
    transforms: tuple[Transform, ...]
    sources: tuple[Entry, ...]
    targets: tuple[Entry, ...]
    frames: tuple[FrameInfo, ...]

    @property
    def output(self) -> int:
        return sum(target.size for target in self.targets)

    def touched(self) -> tuple[range, ...]:
        """For each frame the numbers of the targets of which it has at least a part."""
        found = []
        start = 0
        for frame in self.frames:
            end = start + frame.targets
            found.append(range(start, end + frame.open))
            start = end
        return tuple(found)


# -- header ------------------------------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """Magic, features, sizes, digest, and the header as one zstd frame."""
    raw = bytearray()
    put_varint(raw, header.root)
    for bound in (header.memory, header.scratch, header.cpu):
        put_varint(raw, bound)
    put_varint(raw, len(header.transforms))
    for transform in header.transforms:
        put_bytes(raw, transform.name.encode())
        put_varint(raw, transform.version)
    _put_entries(raw, header.sources)
    _put_entries(raw, header.targets)
    put_varint(raw, len(header.frames))
    for frame in header.frames:
        for value in (frame.size, frame.raw, 2 * frame.targets + frame.open):
            put_varint(raw, value)
    raw += b"".join(frame.sha256 for frame in header.frames)
    stored = zstd.compress(raw, 19)
    out = bytearray(MAGIC)
    put_varint(out, KNOWN_FEATURES)
    put_varint(out, len(stored))
    put_varint(out, len(raw))
    return bytes(out) + hashlib.sha256(stored).digest() + stored


@dataclass(frozen=True, slots=True)
class Lead:
    """The first bytes of a delta: where the header begins and how long it is."""

    start: int
    size: int
    raw: int
    sha256: bytes


def decode_lead(data: bytes) -> Lead:
    """Read the first LEAD bytes (fewer if the delta is shorter)."""
    reader = WireReader(data, "smidgen delta")
    reader.expect(MAGIC)
    features = reader.number((1 << 64) - 1, "features")
    if features & ~KNOWN_FEATURES:
        raise UnsupportedFeature("delta needs features that this version does not have", features=hex(features))
    size = reader.number(MAX_HEADER, "header size")
    raw = reader.number(MAX_HEADER, "raw header size")
    digest = reader.take(32)
    return Lead(reader.offset, size, raw, digest)


def decode_header(lead: Lead, stored: bytes) -> Header:
    """Check and parse the stored header. Raises DigestMismatch, DeltaCorrupt, WireCorrupt, LimitExceeded."""
    found = hashlib.sha256(stored).digest()
    if found != lead.sha256:
        raise DigestMismatch("delta header is damaged", expected=lead.sha256.hex(), found=found.hex())
    reader = WireReader(zstd.decompress(stored, lead.raw), "delta header")
    root = Root.TREE if reader.number(1, "root") else Root.FILE
    memory, scratch = reader.number(MAX_SIZE, "memory"), reader.number(MAX_SIZE, "scratch")
    cpu = Cpu(reader.number(Cpu.EXTREME, "cpu"))
    transforms = tuple(_transforms(reader))
    sources = _entries(reader)
    targets = _entries(reader)
    numbers = [
        (
            reader.number(MAX_FRAME, "frame size"),
            reader.number(MAX_SIZE, "raw frame size"),
            reader.number(2 * len(targets) + 1, "frame targets"),
        )
        for _ in range(reader.number(reader.left // 35, "frame count"))
    ]
    frames = tuple(FrameInfo(size, raw, count // 2, reader.take(32), bool(count % 2)) for size, raw, count in numbers)
    reader.done()
    header = Header(root, memory, scratch, cpu, transforms, sources, targets, frames)
    _check(header)
    return header


def check_frame(frame: FrameInfo, stored: bytes) -> None:
    """Raise DigestMismatch unless `stored` is that frame."""
    found = hashlib.sha256(stored).digest()
    if len(stored) != frame.size or found != frame.sha256:
        raise DigestMismatch("delta frame is damaged", expected=frame.sha256.hex(), found=found.hex())


def _check(header: Header) -> None:
    if sum(frame.targets for frame in header.frames) != len(header.targets) or not header.targets:
        raise DeltaCorrupt("frames do not rebuild the targets", targets=len(header.targets))
    if header.frames[-1].open:
        raise DeltaCorrupt("the last frame ends inside a target")
    if header.targets[0].sha256 is None:
        raise DeltaCorrupt("the first target has no digest")
    if header.root is Root.FILE and len(header.targets) != 1:
        raise DeltaCorrupt("a plain file with several targets", targets=len(header.targets))
    if any(source.sha256 is None for source in header.sources):
        raise DeltaCorrupt("source without a digest")


def _transforms(reader: WireReader) -> Iterator[Transform]:
    for _ in range(reader.number(256, "transform count")):
        name = reader.block(64, "transform name").decode("ascii", "replace")
        yield Transform(name, reader.number(1 << 32, "transform version"))


def _put_entries(out: bytearray, entries: tuple[Entry, ...]) -> None:
    """Size, then 0 and the digest, or 1 and the step of the index (zigzag) from the entry before."""
    put_varint(out, len(entries))
    last = 0
    for entry in entries:
        put_varint(out, entry.size)
        if entry.sha256 is not None:
            out.append(0)
            out += entry.sha256
            continue
        out.append(1)
        step = entry.index - last
        put_varint(out, 2 * step if step >= 0 else -2 * step - 1)
        last = entry.index


def _entries(reader: WireReader) -> tuple[Entry, ...]:
    found = []
    last = 0
    for _ in range(reader.number(reader.left // 3, "entry count")):
        size = reader.number(MAX_SIZE, "size")
        if reader.number(1, "kind of entry") == 0:
            found.append(Entry(size, reader.take(32)))
            continue
        code = reader.number(1 << 33, "index")
        last += -((code + 1) // 2) if code % 2 else code // 2
        if last < 0:
            raise DeltaCorrupt("negative index", offset=reader.offset)
        found.append(Entry(size, None, last))
    return tuple(found)
