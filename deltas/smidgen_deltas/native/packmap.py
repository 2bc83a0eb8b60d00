"""The pack map: where the contents of one tree lie in packs. See FORMAT.md, "Pack map".

A pack is a concatenation of zstd frames, at most MAX_PACK bytes. A frame holds one or more runs of contents; small
files share a frame, large ones are cut into segments of their own. The map lists every frame that holds something
of its tree, in the order of pack and offset, so that a client can merge neighbours into single-range requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.wire import WireCorrupt, WireReader, put_varint

MAGIC: Final = b"smpmap1\n"
MAX_PACK: Final = 16 << 20
MAX_FRAME_RAW: Final = 8 << 20
CHECK_SIZE: Final = 16
FOREIGN: Final = -1


@dataclass(frozen=True, slots=True)
class PackRef:
    """A pack: sha256 and size in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Member:
    """A run of raw bytes in a frame: `length` bytes of contents[`content`] from `start`; FOREIGN to be skipped."""

    content: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One zstd frame: `size` bytes at `offset` of packs[`pack`]; check = first 16 bytes of its sha256 as stored."""

    pack: int
    offset: int
    size: int
    raw_size: int
    check: bytes
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PackMap:
    packs: tuple[PackRef, ...]
    frames: tuple[Frame, ...]


def encode_packmap(packmap: PackMap) -> bytes:
    """The raw form (stored as one zstd frame). Frames must be sorted by (pack, offset)."""
    out = bytearray(MAGIC)
    put_varint(out, len(packmap.packs))
    for pack in packmap.packs:
        out += pack.digest.raw
        put_varint(out, pack.size)
    put_varint(out, len(packmap.frames))
    _put_places(out, packmap.frames)
    _put_members(out, packmap.frames)
    out += b"".join(frame.check for frame in packmap.frames)
    return bytes(out)


def decode_packmap(raw: bytes, content_count: int) -> PackMap:
    """Parse the raw form for a tree with `content_count` contents.

    Raises WireCorrupt or LimitExceeded: frames overlap or leave their pack, members do not add up, bytes are left.
    """
    reader = WireReader(raw, "pack map")
    reader.expect(MAGIC)
    packs = tuple(
        PackRef(Digest.from_raw(reader.take(32)), reader.number(MAX_PACK, "pack size"))
        for _ in range(reader.number(reader.left // 33, "pack count"))
    )
    count = reader.number(reader.left // CHECK_SIZE, "frame count")
    places = _places(reader, packs, count)
    members = _members(reader, places, content_count)
    frames = tuple(Frame(*place, reader.take(CHECK_SIZE), entry) for place, entry in zip(places, members, strict=True))
    reader.done()
    return PackMap(packs, frames)


def _put_places(out: bytearray, frames: tuple[Frame, ...]) -> None:
    pack = end = 0
    for frame in frames:
        if frame.pack != pack:
            end = 0
        put_varint(out, frame.pack - pack)
        put_varint(out, frame.offset - end)
        put_varint(out, frame.size)
        put_varint(out, frame.raw_size)
        pack, end = frame.pack, frame.offset + frame.size


def _places(reader: WireReader, packs: tuple[PackRef, ...], count: int) -> list[tuple[int, int, int, int]]:
    places = []
    pack = end = 0
    for _ in range(count):
        step = reader.number(max(len(packs) - 1 - pack, 0), "pack index")
        if not packs:
            raise WireCorrupt("pack map has frames but no packs", offset=reader.offset)
        pack, end = pack + step, 0 if step else end
        offset = end + reader.number(MAX_PACK, "frame gap")
        size = reader.number(MAX_PACK, "frame size")
        raw_size = reader.number(MAX_FRAME_RAW, "raw frame size")
        end = offset + size
        if not size or end > packs[pack].size:
            raise WireCorrupt("frame is empty or leaves its pack", offset=reader.offset, end=end, pack=packs[pack].size)
        places.append((pack, offset, size, raw_size))
    return places


def _put_members(out: bytearray, frames: tuple[Frame, ...]) -> None:
    """Content indexes as differences to the one before plus one (zigzag), 0 = foreign; most are consecutive."""
    last = -1
    for frame in frames:
        put_varint(out, len(frame.members))
        for member in frame.members:
            if member.content == FOREIGN:
                put_varint(out, 0)
            else:
                step = member.content - last
                put_varint(out, 1 + (2 * step if step >= 0 else -2 * step - 1))
                put_varint(out, member.start)
                last = member.content
            put_varint(out, member.length)


def _members(
    reader: WireReader, places: list[tuple[int, int, int, int]], content_count: int
) -> list[tuple[Member, ...]]:
    last = -1
    frames = []
    for place in places:
        raw_size = place[3]
        left = raw_size
        members = []
        for _ in range(reader.number(reader.left // 2, "member count")):
            code = reader.number(2 * content_count + 4, "content step")
            content, start = FOREIGN, 0
            if code:
                step = (code - 1) // 2 if code % 2 else -(code // 2)
                last += step
                if not 0 <= last < content_count:
                    raise WireCorrupt("member names a content that is not there", offset=reader.offset, content=last)
                content, start = last, reader.number(1 << 50, "content offset")
            length = reader.number(left, "member length")
            left -= length
            members.append(Member(content, start, length))
        if left:
            raise WireCorrupt("members do not fill their frame", offset=reader.offset, raw_size=raw_size, left=left)
        frames.append(tuple(members))
    return frames
