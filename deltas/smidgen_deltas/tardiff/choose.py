"""The cheapest way to each new file within what a tar-diff can say.

Old files are looked for by name and by content. In an image that carries an ostree commit the bytes stand under the
object's name, which says nothing; the names that hard links give them count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.packed import looks_packed
from smidgen_deltas.engine.pages import Pages
from smidgen_deltas.engine.pairing import Candidate, Pairing
from smidgen_deltas.engine.similar import Similar, alike
from smidgen_deltas.tardiff.alignment import alignment
from smidgen_deltas.tardiff.bodies import Body
from smidgen_deltas.tardiff.old_tree import OldFile
from smidgen_deltas.tardiff.operations import encode
from smidgen_deltas.tardiff.steps import Copied, Fresh, Source, Step, Writer, along

SMALLEST: Final = 48  # bytes; no way to a smaller file is cheaper than the file
WORTH_SEARCHING: Final = 4096
POOR: Final = 3  # a way that costs more than one part in this many of the file is worth a second look
TOGETHER: Final = 3
_OBJECT: Final = re.compile(rb"(?:.*/)?objects/[0-9a-f]{2}/[0-9a-f]{62}\.file\Z")


@dataclass(frozen=True, slots=True)
class Way:
    """Steps to a file and roughly the bytes that they cost."""

    steps: tuple[Step, ...]
    cost: int


class Chooser:
    """Ways to new files from old ones; used by several threads."""

    def __init__(self, old: Iterable[OldFile], new: Sequence[Body], pages: Pages) -> None:
        """new: all files of the new tar, so that old ones that stay as they are can be told from those that change."""
        self._old = list(old)
        self._pages = pages
        self._keys = {body.start: self._key(body.data) for body in new}
        keys = [self._key(file.data) for file in self._old]
        self._same = dict(zip(reversed(keys), reversed(self._old), strict=True))
        self._pairing = Pairing(
            Candidate(number, name, len(file.data))
            for number, file in enumerate(self._old)
            for name in telling(file.names)
        )
        kept = frozenset(self._keys.values())
        gone = [file for key, file in zip(keys, self._old, strict=True) if key not in kept]
        self._findable = [file for file in gone if len(file.data) >= WORTH_SEARCHING]
        self._similar = Similar(len(self._findable), self._load)

    def choose(self, body: Body) -> tuple[Step, ...]:
        """The steps to a file."""
        data = body.data
        if len(data) < SMALLEST:
            return (Fresh(data),)
        same = self._same.get(self._keys[body.start])
        if same is not None:
            return (Copied(same.path, 0, len(data)),)
        return min(self._ways(body), key=lambda way: way.cost).steps

    def _key(self, data: memoryview) -> bytes:
        self._pages.passed(len(data))
        return hashlib.sha256(data).digest()

    def _load(self, number: int) -> memoryview:
        data = self._findable[number].data
        self._pages.passed(len(data))
        return data

    def _ways(self, body: Body) -> Iterator[Way]:
        data = body.data
        best = Way((Fresh(data),), len(zstd.compress(data, 1)))
        yield best
        self._pages.passed(len(data))
        pair = self._pair(body)
        packed = looks_packed(body.names[0].decode(errors="replace") if body.names else "", data)
        tried: list[OldFile] = []
        if pair and not (packed and not alike(pair.data, data)):
            tried.append(pair)
            ways = self._along((pair,), data)
            best = min((best, *ways), key=lambda way: way.cost)
            yield from ways
        if packed or len(data) < WORTH_SEARCHING or best.cost * POOR <= len(data):
            return
        others = [self._findable[number] for number in self._similar.find(data, lambda _: True)[: TOGETHER + 1]]
        others = [file for file in others if file is not pair]
        if others:
            yield from self._along(others[:1], data)
        if len(tried + others) > 1:
            yield from self._along((tried + others)[:TOGETHER], data)

    def _along(self, files: Sequence[OldFile], data: memoryview) -> list[Way]:
        sources = [Source(file.path, file.data) for file in files]
        blocks = list(alignment(sources, data))
        self._pages.passed(len(data) + sum(len(source.data) for source in sources))
        if not blocks:
            return []
        return [_weighed(tuple(along(blocks, sources, data, exact=exact))) for exact in (False, True)]

    def _pair(self, body: Body) -> OldFile | None:
        for name in telling(body.names):
            found = self._pairing.find(name, len(body.data))
            if found:
                return self._old[found.number]
        return None


def telling(names: Sequence[bytes]) -> list[str]:
    """Names that say what a file is: all but those of objects in a repository."""
    return [name.decode(errors="surrogateescape") for name in names if not _OBJECT.match(name)]


def _weighed(steps: tuple[Step, ...]) -> Way:
    writer = Writer()
    stream = bytearray()
    for operation in (*writer.operations(steps), *writer.flush()):
        for piece in encode(operation):
            stream += piece
    return Way(steps, len(zstd.compress(stream, 1)))
