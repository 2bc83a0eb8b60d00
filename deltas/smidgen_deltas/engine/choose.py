"""The cheapest way to each new file: a copy, a patch of what resembles it, a patch of what is inside it, or all of it.

A pair is looked for by name (`engine.pairing`); where that gives none, or a poor patch, by content (`engine.similar`),
among old files and those new ones that are rebuilt earlier. What several old files were put together to is patched
from all of them. Everything chosen keeps to the device's profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.frames import Coded, Needs
from smidgen_deltas.engine.gate import Gate
from smidgen_deltas.engine.large import LARGE, code_large
from smidgen_deltas.engine.pairing import Candidate, Pairing
from smidgen_deltas.engine.patch import PLAIN, make_patch
from smidgen_deltas.engine.profile import FULL, Profile
from smidgen_deltas.engine.recipes import Book, Forgetful, looks_packed, take_apart
from smidgen_deltas.engine.scratch import HELD, collect, spool
from smidgen_deltas.engine.similar import Similar, alike, match_streams
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import MIB, Budget, CpuClass
from smidgen_deltas.errors import FormatError
from smidgen_deltas.native.delta import Cpu, Transform
from smidgen_deltas.native.delta_ops import MAX_DEPTH, Copy, Inner, Patched, Ref, Repacked, Space, Whole
from smidgen_deltas.native.tree import ContentRef

LARGEST_INNER: Final = 512 << 20
HEAVY: Final = 8  # part of the device's memory
WORTH_LOOKING: Final = 512  # bytes; what costs less is not taken apart, nor is anything else tried for it
WORTH_SEARCHING: Final = 4096
POOR: Final = 3  # a patch that costs more than one part in this many of the whole is worth a second look
TOGETHER: Final = 3  # old files that are patched from as one
MAX_TOGETHER: Final = 128 << 20
_EXPANDS: Final = 4  # what is inside of a compressed file, compared with the file
_ENCODER: Final = {"fast": 0, "default": 512 << 20, "best": 2 << 30}  # bytes that one encoder may take
_AT_ONCE: Final = {"fast": 0, "default": 448 << 20, "best": 1 << 30}  # and all that run at the same time, if several
_SHARE: Final = 2  # one target in work may take this part of a device's memory; frames need the rest
_CPU: Final = {
    CpuClass.COPY: Cpu.NONE,
    CpuClass.LIGHT: Cpu.LIGHT,
    CpuClass.HEAVY: Cpu.HEAVY,
    CpuClass.EXTREME: Cpu.EXTREME,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to make a delta.

    Args:
        effort: "fast", "default" or "best".
        book: recipes that are known already.
    """

    effort: str
    profile: Profile = FULL
    book: Book = field(default_factory=Forgetful)

    def gate(self) -> Gate:
        """For all encoders of one delta."""
        return Gate(_AT_ONCE[self.effort])

    def budget(self, gate: Gate) -> Budget:
        """For looking inside files: no encoder is tried that this machine or the devices have no memory for."""
        return Budget(LARGEST_INNER, memory=min(_ENCODER[self.effort], self.profile.memory // _SHARE), gate=gate)


@dataclass(frozen=True, slots=True)
class Old:
    """Bytes that the device has, or will have by then."""

    data: Buffer
    ref: Ref


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that may be a pair. target: its number if it is a new file."""

    tree: Tree
    content: ContentRef
    path: str
    target: int | None = None


class Chooser:
    """Codes the files of one new tree; by several threads at once. `targets`: new contents in the order of rebuilding.

    gate: what encoders share that run at the same time.
    Nothing in here raises FormatError for what the files contain; what their `open` raises goes through.
    """

    def __init__(
        self, old: Sequence[Tree], new: Tree, targets: Sequence[int], first: int, settings: Settings, gate: Gate
    ) -> None:
        self._old, self._new, self._settings = old, new, settings
        self._budget = settings.budget(gate)
        self._space = Space.SOURCE if new.document is None else Space.CONTENT
        pairs = [(tree, *entry) for tree in old for entry in zip(tree.contents, tree.paths, strict=True)]
        self._sources = [_Source(*entry) for entry in pairs]
        self._known: dict[bytes, int] = {}
        for number, source in enumerate(self._sources):
            self._known.setdefault(source.content.sha256, number)
        self._pairing = Pairing(
            Candidate(number, source.path, source.content.size) for number, source in enumerate(self._sources)
        )
        self._targets = {new.contents[index].sha256: first + at for at, index in enumerate(targets)}
        kept = {content.sha256 for content in new.contents}
        gone = [source for source in self._sources if source.content.sha256 not in kept]
        fresh = [_Source(new, new.contents[index], new.paths[index], first + at) for at, index in enumerate(targets)]
        some = gone if gone and settings.effort == "fast" else self._sources  # what is gone is the likeliest source
        self._findable = [one for one in some + fresh if self._worth(one)]
        self._similar = Similar(len(self._findable), lambda number: self._open(self._findable[number]))

    @staticmethod
    def _worth(source: _Source) -> bool:
        return WORTH_SEARCHING <= source.content.size <= MAX_TOGETHER

    @staticmethod
    def _open(source: _Source) -> Buffer:
        return source.tree.bytes_of.open(source.content)

    def _ref(self, source: _Source) -> Ref:
        if source.target is not None:
            return Ref(Space.TARGET, source.target)
        return Ref(self._space, self._known[source.content.sha256])

    def source_path(self, ref: Ref) -> str:
        """The name of what a reference means, for people."""
        if ref.space is self._space:
            return self._sources[ref.number].path
        return f"target {ref.number}" if ref.space is Space.TARGET else "tree document"

    # -- targets -------------------------------------------------------------------------------------------------------

    def document(self, document: bytes) -> Coded:
        """The tree document, from those of the old trees."""
        choices = [_whole(document)]
        for number, tree in enumerate(self._old):
            choices.append(self._patch((Old(tree.document or b"", Ref(Space.SOURCE, number)),), document))
        return min(choices, key=lambda coded: coded.weight)

    def is_large(self, index: int) -> bool:
        return self._new.contents[index].size > LARGE

    def is_heavy(self, coded: Coded) -> bool:
        """Whether a file should rather come in parts: stored as one it takes too much of the device's memory."""
        return coded.weight > self._settings.profile.memory // HEAVY

    def cost(self, index: int) -> int:
        """Roughly the bytes that will be looked at for a file: more than its size if it is compressed."""
        content = self._new.contents[index]
        if content.size < WORTH_SEARCHING or not looks_packed(self._new.bytes_of.open(content)):
            return content.size
        return _EXPANDS * content.size

    def large(self, index: int) -> Iterator[Coded]:
        """The parts of a file that is too large for one operation."""
        content = self._new.contents[index]
        source = self._pair(self._new.paths[index], content)
        old = (self._open(source), self._ref(source)) if source else None
        return code_large(self._new.bytes_of.open(content), old, _estimate)

    def target(self, index: int, number: int) -> Coded:
        """One file; `number` among the targets."""
        content, path = self._new.contents[index], self._new.paths[index]
        if content.sha256 in self._known:
            return Coded(Copy(Ref(self._space, self._known[content.sha256])), weight=8)
        source = self._pair(path, content)
        pair = Old(self._open(source), self._ref(source)) if source else None
        return self._code(self._new.bytes_of.open(content), pair, number, 0)

    def _pair(self, path: str, content: ContentRef) -> _Source | None:
        found = self._pairing.find(path, content.size)
        if found is None and self._new.document is None and self._sources:
            return self._sources[0]  # plain files are a pair, whatever their names
        return self._sources[found.number] if found else None

    # -- one file or inner stream --------------------------------------------------------------------------------------

    def _code(self, data: Buffer, pair: Old | None, number: int, depth: int) -> Coded:
        """The cheapest way to `data`, which is target `number` or a stream inside it."""
        known = self._copy(data, pair, number, depth)
        if known:
            return known
        best = _whole(data)
        if best.weight <= WORTH_LOOKING and pair is None:
            return best
        packed = looks_packed(data)
        if packed and depth < MAX_DEPTH and self._settings.effort != "fast":
            inside = self._code_inside(data, pair, number, depth)
            best = min(best, inside or best, key=self._price)
        if not packed or best.op == Whole():
            best = self._code_patch(data, pair, number, best, packed=packed)
        return best

    def _price(self, coded: Coded) -> float:
        """Bytes, with what the device's time is worth to it."""
        return coded.weight + self._settings.profile.saves * coded.seconds

    def _copy(self, data: Buffer, pair: Old | None, number: int, depth: int) -> Coded | None:
        """If these bytes are an old file, an earlier target, or the pair."""
        if not len(data):
            return None
        if pair and len(pair.data) == len(data) and memoryview(pair.data) == memoryview(data):
            return Coded(Copy(pair.ref), weight=8)
        if not depth:
            return None
        digest = hashlib.sha256(data).digest()
        old, target = self._known.get(digest), self._targets.get(digest, number)
        if old is not None:
            return Coded(Copy(Ref(self._space, old)), weight=8)
        return Coded(Copy(Ref(Space.TARGET, target)), weight=8) if target < number else None

    def _code_patch(self, data: Buffer, pair: Old | None, number: int, best: Coded, *, packed: bool) -> Coded:
        """`best`, or a patch that costs less: from the pair, else from what is alike."""
        whole = best.weight
        if pair and not (packed and not alike(pair.data, data)):
            best = min(best, self._patch((pair,), data), key=lambda coded: coded.weight)
        searched = pair is None or (self._settings.effort != "fast" and best.weight * POOR > whole)
        if not searched or packed or best.weight < WORTH_SEARCHING:
            return best
        olds = self._alike(data, pair, number)
        if olds:
            best = min(best, self._patch(olds[:1], data), key=lambda coded: coded.weight)
        every = ((pair,) if pair else ()) + olds
        if len(every) > 1 and self._settings.effort != "fast" and best.weight * POOR > whole:
            joined = self._patch(every[:TOGETHER], data)
            best = min(best, joined, key=lambda coded: coded.weight)
        return best

    def _alike(self, data: Buffer, pair: Old | None, number: int) -> tuple[Old, ...]:
        def earlier(at: int) -> bool:
            target = self._findable[at].target
            return target is None or target < number

        found: list[Old] = []
        for at in self._similar.find(data, earlier):
            ref = self._ref(self._findable[at])
            if pair is None or ref != pair.ref:
                found.append(Old(self._open(self._findable[at]), ref))
            if len(found) == TOGETHER:
                break
        return tuple(found)

    def _code_inside(self, data: Buffer, pair: Old | None, number: int, depth: int) -> Coded | None:
        found = take_apart(data, self._budget, self._settings.book)
        if found is None or not found.streams:
            return None
        found = replace(found, streams=tuple(spool(stream) for stream in found.streams))
        cost = registry.cost(found.name, found.version, found.recipe)
        sizes = [len(stream) for stream in found.streams]
        held = sum(size for size in sizes if size <= HELD)
        if not self._settings.profile.allows(found.name, _CPU[cost.cpu], _SHARE * (cost.memory + held)):
            return None
        transform = Transform(found.name, found.version)
        inner = [
            (len(stream), self._code(stream, old, number, depth + 1))
            for stream, old in zip(found.streams, self._old_streams(transform, pair, found.streams), strict=True)
        ]
        needs = Needs(cost.memory, 0, _CPU[cost.cpu])  # of one stream after the other, then of all together
        for _, coded in inner:
            needs = needs.either(coded.needs)
        needs = needs.together(Needs(held, sum(sizes) - held))
        return Coded(
            Repacked(transform, len(found.recipe), tuple(_inner(size, coded) for size, coded in inner)),
            collect(coded.control for _, coded in inner),
            collect(coded.diff for _, coded in inner),
            collect(coded.extra for _, coded in inner),
            collect((found.recipe, *(coded.literal for _, coded in inner))),
            _estimate(found.recipe) + 4 + sum(coded.weight for _, coded in inner),
            needs,
            cost.seconds_per_mib * sum(sizes) / MIB + sum(coded.seconds for _, coded in inner),
        )

    @staticmethod
    def _old_streams(transform: Transform, pair: Old | None, news: Sequence[Buffer]) -> list[Old | None]:
        """What to compare each inner stream with."""
        nothing: list[Old | None] = [None] * len(news)
        if pair is None:
            return nothing
        try:
            found = registry.reveal(transform.name, transform.version, pair.data, LARGEST_INNER)
        except FormatError:
            return nothing
        streams = [spool(stream) for stream in found]
        del found
        ref = pair.ref
        refs = [Ref(ref.space, ref.number, (*ref.path, (transform, at))) for at in range(len(streams))]
        matched = match_streams(streams, news)
        return [None if at is None else Old(streams[at], refs[at]) for at in matched]

    def _patch(self, olds: tuple[Old, ...], new: Buffer) -> Coded:
        if len(olds) > 1 and sum(len(old.data) for old in olds) > MAX_TOGETHER:
            olds = olds[:1]
        data = olds[0].data if len(olds) == 1 else b"".join(old.data for old in olds)
        predicted = Needs(2 * len(new) + len(data) // 4)
        predict = _SHARE * predicted.memory <= self._settings.profile.memory
        patch = make_patch(data, new, self._settings.effort, predict=predict)
        op = Patched(
            tuple(old.ref for old in olds), patch.transform, len(patch.control), len(patch.diff), len(patch.extra)
        )
        weight = _estimate(patch.control) + _estimate(patch.diff) + _estimate(patch.extra) + 12
        needs = Needs() if patch.transform == PLAIN else predicted
        return Coded(op, spool(patch.control), spool(patch.diff), spool(patch.extra), b"", weight, needs)


def _inner(size: int, coded: Coded) -> Inner:
    if not isinstance(coded.op, Whole | Copy | Patched | Repacked):
        raise TypeError("a stream inside a file has no parts")
    return Inner(size, coded.op)


def _whole(data: Buffer) -> Coded:
    return Coded(Whole(), literal=data, weight=_estimate(data) + 1)


def _estimate(data: Buffer) -> int:
    """Bytes that this will cost, roughly; quick rather than right."""
    return len(zstd.compress(data, 1)) if len(data) else 0
