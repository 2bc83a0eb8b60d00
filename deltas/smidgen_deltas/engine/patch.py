"""The codec for one pair of files: an alignment, the differences along it, and what is new.

A patch is three streams and the number of a transform. The streams are not compressed here: those of many files
compress better together. With a transform other than PLAIN the difference is taken not to the old bytes but to what the
old bytes predict once the alignment is known (see `kernels/references`): control is decoded first, then the prediction
is made, then the difference is added (see `engine/relocatable` for tables whose fields are predicted one after the
other). A wrong prediction costs bytes and can never give a wrong file.

control, all numbers varints (zigzag for signed ones): block count; then for each block the bytes of `extra` before it;
then for each the distance of its place in the old file from the end of the block before it (signed); then for each its
length, less one. Like numbers stand together because they compress better so. Before all that, for REFERENCES: 1 if the
table in `.eh_frame_hdr` is zeros here and to be made from `.eh_frame` once all else is there, or 0; then the segments
of the new image: count, then address, offset, size in file, size in memory for each.
"""

from __future__ import annotations

import lzma
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.engine import elf, relocatable
from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.scratch import collect
from smidgen_deltas.errors import FormatError
from smidgen_deltas.kernels.align import align
from smidgen_deltas.kernels.patching import add, assemble, blocks_of, complete, spread, subtract
from smidgen_deltas.kernels.references import predict
from smidgen_deltas.wire import WireReader, put_varint, varint

PLAIN: Final = 0
REFERENCES: Final = 1
TABLES: Final = 2
TRANSFORMS: Final = {PLAIN: "plain-1", REFERENCES: "elf-references-1", TABLES: "elf-relocatable-1"}
MAX_PREDICTED: Final = 512 << 20  # larger files are coded plainly; prediction holds the whole new file in memory
MAX_SEGMENTS: Final = 64
BLOCK: Final = 1 << 20
READ: Final = 8 << 20  # bytes of mapped files that may count as memory here
AROUND: Final = 1 << 16  # bytes of a mapped file that come when one is read
DEEP: Final = 96
_MANY: Final = 1 << 48
POSITIONS: Final = 32 << 20  # of an old file that are indexed, 4 bytes each
_DEPTH: Final = {"fast": (6, 4), "default": (24, 1), "best": (24, 1)}  # effort -> candidates, index step

Buffer = bytes | bytearray | memoryview


class PatchCorrupt(FormatError):
    """A patch does not fit its old file, its streams or its declared size."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What turns an old file into a new one. transform: a key of TRANSFORMS."""

    transform: int
    control: bytes
    diff: bytes | memoryview
    extra: bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Control:
    derived: bool
    segments: array[int]
    blocks: array[int]  # triples (new, old, length)


def make_patch(old: Buffer, new: Buffer, effort: str = "default", *, predict: bool = True) -> Patch:
    """A patch from `old` to `new`.

    Args:
        effort: "fast", "default" or "best".
        predict: whether the device may predict references and tables, which takes memory there.
    Memory: the index of `kernels.align`, plus, for code, three copies of the files.
    """
    depth, step = _search(old, effort)
    if not predict:
        return plain_patch(old, new, array("q", align(_c(old), _c(new), depth, step)))
    if max(len(old), len(new)) <= MAX_PREDICTED:
        objects = relocatable.parse(old), relocatable.parse(new)
        if objects[0] and objects[1]:
            return _tables_or_plain(old, new, objects[0], objects[1], effort)
    old_image, new_image = _images(old, new, effort)
    if old_image is None or new_image is None:
        return plain_patch(old, new, array("q", align(_c(old), _c(new), depth, step)))
    masked, deeper = _masked(old, new, old_image, new_image, (depth, DEEP) if effort == "best" else (depth, 0), step)
    found = _predicted(old, new, masked, old_image, new_image)
    if effort != "best":
        return found
    # a deeper search finds longer matches, which are not always the right ones: try and weigh
    direct = array("q", align(_c(old), _c(new), depth, step))
    others = [_predicted(old, new, blocks, old_image, new_image) for blocks in (direct, deeper)]
    return min([found, *others, plain_patch(old, new, direct)], key=weight)


def apply_patch(patch: Patch, old: Buffer, size: int) -> Iterator[memoryview]:
    """The new file, in blocks of at most BLOCK bytes (plain) or after all is done (predicted).

    Raises PatchCorrupt unless patch and old file give exactly `size` bytes; that may be after some blocks.
    """
    if patch.transform not in TRANSFORMS:
        raise PatchCorrupt("patch needs a transform that is not known here", transform=patch.transform)
    control = _read_control(patch, len(old), size)
    if patch.transform == PLAIN:
        return _apply_plain(patch, control.blocks, memoryview(old), size)
    if patch.transform == TABLES:
        return _apply_tables(patch, control.blocks, old, size)
    return _apply_predicted(patch, control, old, size)


def weight(patch: Patch) -> int:
    """A quick estimate of the compressed size in bytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 0, "pb": 0}]
    return sum(
        len(lzma.compress(part, format=lzma.FORMAT_RAW, filters=filters))
        for part in (patch.control, patch.diff, patch.extra)
    )


def _masked(
    old: Buffer, new: Buffer, first: elf.Image, second: elf.Image, depths: tuple[int, int], step: int
) -> tuple[array[int], array[int]]:
    """Alignments, one for each depth but 0, of copies in which references are blanked."""
    masked_old, masked_new = elf.blank(old, first), elf.blank(new, second)
    one, other = (array("q", align(masked_old, masked_new, depth, step) if depth else b"") for depth in depths)
    return one, other


def _images(old: Buffer, new: Buffer, effort: str) -> tuple[elf.Image | None, elf.Image | None]:
    if effort == "fast" and len(new) > 64 << 20:
        return None, None
    if max(len(old), len(new)) > MAX_PREDICTED:
        return None, None
    first = elf.parse(old)
    second = elf.parse(new) if first else None
    if first and second and first.machine == second.machine:
        return first, second
    return None, None


def index_step(size: int) -> int:
    """How far apart places in an old file of `size` bytes are indexed, so that there are at most POSITIONS."""
    return max(1, -(-size // POSITIONS))


def _search(old: Buffer, effort: str) -> tuple[int, int]:
    depth, step = _DEPTH[effort]
    return depth, max(step, index_step(len(old)))


def plain_patch(old: Buffer, new: Buffer, blocks: array[int]) -> Patch:
    """The patch along an alignment: triples (new, old, length), ascending in new, as `kernels.align` gives them."""
    return Patch(PLAIN, _control(blocks), collect(_differences(old, new, blocks)), _extra(new, blocks))


def _differences(old: Buffer, new: Buffer, blocks: array[int]) -> Iterator[bytes]:
    first, second = memoryview(old), memoryview(new)
    for at, old_at, length in _triples(blocks):
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            part = bytearray(count)
            new_at, from_at = at + start, old_at + start
            subtract(second[new_at : new_at + count], first[from_at : from_at + count], part)
            yield bytes(part)


def _predicted(old: Buffer, new: Buffer, blocks: array[int], first: elf.Image, second: elf.Image) -> Patch:
    table = elf.frame_table(new)
    derived = table is not None and bytes(new[table[0] : table[0] + len(table[1])]) == table[1]
    if table and derived:
        new = bytearray(new)
        new[table[0] : table[0] + len(table[1])] = bytes(len(table[1]))
        blocks = _without(blocks, table[0], table[0] + len(table[1]))
    base = bytearray(len(new))
    predict(_c(old), blocks, _order(blocks), first.segments, second.segments, first.regions, first.places, base)
    subtract(_c(new), base, base)
    view = memoryview(base)
    diff = b"".join(view[at : at + length] for at, _, length in _triples(blocks))
    head = _references_head(second.segments, int(derived))
    return Patch(REFERENCES, head + _control(blocks), diff, _extra(new, blocks))


def _without(blocks: array[int], start: int, end: int) -> array[int]:
    """Blocks that leave out new[start:end]."""
    out = array("q")
    for at, old_at, length in _triples(blocks):
        for first, last in ((at, min(at + length, start)), (max(at, end), at + length)):
            if first < last:
                out.extend((first, old_at + first - at, last - first))
    return out


def _references_head(segments: array[int], derived: int) -> bytes:
    out = bytearray((derived,))
    put_varint(out, len(segments) // 4)
    for value in segments:
        put_varint(out, value)
    return bytes(out)


def _tables_or_plain(
    old: Buffer, new: Buffer, first: relocatable.Object, second: relocatable.Object, effort: str
) -> Patch:
    """Field by field, unless that is not better or tables lie over the headers that say where tables are."""
    depth, step = _search(old, effort)
    masked = align(relocatable.blank(old, first), relocatable.blank(new, second), depth, step)
    found = _coded_tables(old, new, array("q", masked), first)
    right = b"".join(apply_patch(found, old, len(new))) == new
    if right and effort == "fast":
        return found  # nearly always the better one
    plain = plain_patch(old, new, array("q", align(_c(old), _c(new), depth, step)))
    return found if right and weight(found) < weight(plain) else plain


def _coded_tables(old: Buffer, new: Buffer, blocks: array[int], first: relocatable.Object) -> Patch:
    whole = bytearray(len(new))
    view = memoryview(old)
    for at, old_at, length in _triples(blocks):
        subtract(memoryview(new)[at : at + length], view[old_at : old_at + length], memoryview(whole)[at : at + length])
    relocatable.code(_c(old), first, bytearray(new), whole, blocks, _order(blocks), 0)
    diff = b"".join(whole[at : at + length] for at, _, length in _triples(blocks))
    return Patch(TABLES, _control(blocks), diff, _extra(new, blocks))


def _control(blocks: array[int]) -> bytes:
    gaps, steps, lengths = bytearray(), bytearray(), bytearray()
    end = old_end = 0
    for at, old_at, length in _triples(blocks):
        put_varint(gaps, at - end)
        step = old_at - old_end
        put_varint(steps, 2 * step if step >= 0 else -2 * step - 1)
        put_varint(lengths, length - 1)
        end, old_end = at + length, old_at + length
    return varint(len(blocks) // 3) + gaps + steps + lengths


def _read_control(patch: Patch, old_size: int, size: int) -> _Control:
    """Parse and check: every block inside both files, in order, diff and extra used up exactly."""
    if len(patch.diff) + len(patch.extra) != size:
        raise PatchCorrupt("streams do not fill the file", size=size, diff=len(patch.diff), extra=len(patch.extra))
    reader = WireReader(patch.control, "patch control")
    segments = array("Q")
    derived = False
    if patch.transform == REFERENCES:
        derived = bool(reader.number(1, "derived"))
        for _ in range(4 * reader.number(MAX_SEGMENTS, "segment count")):
            segments.append(reader.number(1 << 62, "segment"))
    count = reader.number(reader.left // 3, "block count")
    blocks = array("q", (0,)) * (3 * count)
    covered = blocks_of(patch.control, reader.offset, old_size, size, blocks)
    if covered < 0:
        blocks, covered = _blocks(reader, count, old_size, size)
    if len(patch.diff) != covered or len(patch.extra) != size - covered:
        raise PatchCorrupt(
            "streams do not fill the file", size=size, diff=len(patch.diff), extra=len(patch.extra), blocks=covered
        )
    return _Control(derived, segments, blocks)


def _blocks(reader: WireReader, count: int, old_size: int, size: int) -> tuple[array[int], int]:
    """As kernels.patching.blocks_of, but raises PatchCorrupt, WireCorrupt or LimitExceeded for what is wrong."""
    gaps = array("q", (reader.number(size, "gap") for _ in range(count)))
    steps = array("q", (reader.number(_MANY, "step") for _ in range(count)))
    blocks = array("q")
    at = old_at = covered = 0
    for gap, code in zip(gaps, steps, strict=True):
        length = reader.number(size, "block length") + 1
        at += gap
        old_at += -((code + 1) // 2) if code % 2 else code // 2
        if at + length > size or not 0 <= old_at <= old_size - length:
            raise PatchCorrupt("block leaves a file", offset=reader.offset, at=at, old_at=old_at, length=length)
        blocks.extend((at, old_at, length))
        at += length
        old_at += length
        covered += length
    reader.done()
    return blocks, covered


def _apply_plain(patch: Patch, blocks: array[int], old: memoryview, size: int) -> Iterator[memoryview]:
    diff, extra = memoryview(patch.diff), memoryview(patch.extra)
    if 0 < size <= BLOCK:
        out = bytearray(size)
        assemble(_c(old), blocks, diff, extra, out)
        yield memoryview(out)
        return
    done = used = 0
    pages = Pages((old, diff, extra), READ)
    for at, old_at, length in _triples(blocks):
        yield from _pieces(extra[done - used : at - used])
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            part = bytearray(old[old_at + start : old_at + start + count])
            add(part, diff[used + start : used + start + count])
            yield memoryview(part)
            pages.passed(count + max(count, AROUND))  # of the differences and of the old file
        pages.passed(at - done)
        used += length
        done = at + length
    yield from _pieces(extra[done - used : size - used])


def _apply_predicted(patch: Patch, control: _Control, old: Buffer, size: int) -> Iterator[memoryview]:
    image = elf.parse(old)
    if image is None or size > MAX_PREDICTED or any(value >= 1 << 62 for value in control.segments):
        raise PatchCorrupt("patch predicts references in a file that has none", size=size)
    blocks = control.blocks
    out = bytearray(size)
    predict(_c(old), blocks, _order(blocks), image.segments, control.segments, image.regions, image.places, out)
    complete(blocks, _c(patch.diff), _c(patch.extra), out)
    view = memoryview(out)
    if control.derived:
        table = elf.frame_table(out)
        if table is None:
            raise PatchCorrupt("patch leaves out a table that cannot be made", size=size)
        view[table[0] : table[0] + len(table[1])] = table[1]
    yield from _pieces(view)


def _apply_tables(patch: Patch, blocks: array[int], old: Buffer, size: int) -> Iterator[memoryview]:
    first = relocatable.parse(old)
    if first is None or size > MAX_PREDICTED:
        raise PatchCorrupt("patch predicts tables in a file that has none", size=size)
    out, whole = bytearray(size), bytearray(size)
    assemble(_c(old), blocks, _c(patch.diff), _c(patch.extra), out)
    spread(blocks, _c(patch.diff), whole)
    relocatable.code(_c(old), first, out, whole, blocks, _order(blocks), 1)
    return _pieces(memoryview(out))


def _order(blocks: array[int]) -> array[int]:
    """Block numbers, shortest first; ties by position, so that both sides agree."""
    return array("q", sorted(range(len(blocks) // 3), key=blocks[2::3].__getitem__))  # sorting keeps positions


def _extra(new: Buffer, blocks: array[int]) -> bytes:
    view = memoryview(new)
    parts = []
    end = 0
    for at, _, length in _triples(blocks):
        parts.append(view[end:at])
        end = at + length
    parts.append(view[end:])
    return b"".join(parts)


def _triples(blocks: array[int]) -> Iterator[tuple[int, int, int]]:
    numbers = iter(blocks)
    return zip(numbers, numbers, numbers, strict=True)


def _pieces(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), BLOCK):
        yield view[start : start + BLOCK]


def _c(buffer: Buffer) -> memoryview:
    """Read-only view that the kernels accept."""
    return memoryview(buffer).cast("B")
