"""What a delta holds, target by target: how each is made, from what, and the bytes that it costs. Nothing is rebuilt.

What a frame has in common is shared out: of each stream a target is charged what it adds by a quick estimate, scaled so
that all together are the stream as stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from smidgen_deltas import zstd
from smidgen_deltas.engine import coding
from smidgen_deltas.engine.cursors import Cursors
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.native.delta import MAX_SIZE, DeltaCorrupt, Header, check_frame
from smidgen_deltas.native.delta_ops import (
    Bounds,
    Copy,
    Part,
    Patched,
    Ref,
    Repacked,
    TargetOp,
    Whole,
    decode_op,
)
from smidgen_deltas.wire import WireReader


@dataclass(slots=True)
class Described:
    """One target.

    Args:
        number: among the targets of the delta.
        operations: one, or one for each part.
        bytes: of the stored frames, its share; not a whole number.
    """

    number: int
    operations: list[TargetOp] = field(default_factory=list)
    bytes: float = 0.0


def describe(header: Header, frames: Iterable[bytes]) -> Iterator[Described]:
    """Go through the stored frames of a delta. Raises DigestMismatch, FormatError for frames that are wrong."""
    number, left = 0, 0
    target = Described(0)
    for info, stored in zip(header.frames, frames, strict=True):
        check_frame(info, stored)
        charged: list[tuple[Described, Counter[str]]] = []
        done: list[Described] = []
        parts = coding.unpack(stored, info.raw)
        ops, cursors = WireReader(parts.ops, "delta operations"), Cursors(parts)
        while ops.left:
            if number >= len(header.targets):
                raise DeltaCorrupt("delta has more operations than targets", offset=ops.offset)
            start = ops.offset
            op = decode_op(ops, header.transforms, Bounds(len(header.sources), number, MAX_SIZE))
            size = op.size if isinstance(op, Part) else header.targets[number].size
            weights = Counter({"ops": ops.offset - start})
            for name, piece in cursors.named(op.op if isinstance(op, Part) else op, size):
                weights[name] += _weight(piece)
            charged.append((target, weights))
            target.operations.append(op)
            left = (left or header.targets[number].size) - size
            if left <= 0:
                done.append(target)
                number, left = number + 1, 0
                target = Described(number)
        cursors.done()
        _share_out(charged, coding.stored_sizes(stored, info.raw))
        yield from done


def _share_out(charged: Sequence[tuple[Described, Counter[str]]], sizes: dict[str, int]) -> None:
    total: Counter[str] = Counter()
    for _, weights in charged:
        total.update(weights)
    for target, weights in charged:
        target.bytes += sum(sizes[name] * weight / total[name] for name, weight in weights.items() if weight)


def _weight(data: Buffer) -> int:
    return len(zstd.compress(data, 1)) if len(data) else 0


def reason(ops: Sequence[TargetOp]) -> tuple[str, str]:
    """The method by which a target is made, and why that one, in words."""
    op = ops[0]
    if isinstance(op, Part):
        patched = sum(isinstance(one, Part) and isinstance(one.op, Patched) for one in ops)
        return "parts", f"too large for one piece; {patched} of {len(ops)} parts resemble the old file"
    if isinstance(op, Whole):
        return "whole", "nothing that the device has makes it smaller"
    if isinstance(op, Copy):
        return "copy", "the same bytes are there already"
    if isinstance(op, Patched):
        several = "several files that it was put together from" if len(op.refs) > 1 else "the file that resembles it"
        return "patch", f"cheapest from {several}"
    copies = sum(isinstance(inner.op, Copy) for inner in op.streams)
    return op.transform.name, f"cheaper inside: {len(op.streams)} streams, {copies} of them copies"


def refs_of(op: TargetOp) -> Iterator[Ref]:
    """What an operation reads, in order, some perhaps more than once."""
    if isinstance(op, Part):
        yield from refs_of(op.op)
    elif isinstance(op, Copy):
        yield op.ref
    elif isinstance(op, Patched):
        yield from op.refs
    elif isinstance(op, Repacked):
        for inner in op.streams:
            yield from refs_of(inner.op)
