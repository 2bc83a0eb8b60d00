"""Finding files by content: which known files share chunks with a new one, whatever their names.

Memory: about 100 bytes for each of SIZE hashes of a file.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.kernels.sketch import sketch

SIZE: Final = 32
CROWD: Final = 24  # a chunk that more files share (an empty page, a licence) says nothing


class Similar:
    """Sketches of files that are numbered from 0, made when first asked for.

    Args:
        load: gives the bytes of a file.
    """

    def __init__(self, count: int, load: Callable[[int], Buffer]) -> None:
        self._count = count
        self._load = load
        self._index: dict[int, list[int]] | None = None
        self._lock = threading.Lock()

    def find(self, data: Buffer, accept: Callable[[int], bool]) -> list[int]:
        """Numbers of files that share chunks with `data` and that `accept` likes, most alike first."""
        mine = sketch(memoryview(data).cast("B"), SIZE)
        index = self._ready()
        shared: Counter[int] = Counter()
        for value in mine:
            for number in index.get(value, ()):
                if accept(number):
                    shared[number] += 1
        return sorted(shared, key=lambda number: (-shared[number], number))

    def _ready(self) -> dict[int, list[int]]:
        with self._lock:
            if self._index is None:
                self._index = dict(self._crowded(self._sketched()))
            return self._index

    def _sketched(self) -> dict[int, list[int]]:
        index: dict[int, list[int]] = defaultdict(list)
        for number in range(self._count):
            for value in sketch(memoryview(self._load(number)).cast("B"), SIZE):
                index[value].append(number)
        return index

    @staticmethod
    def _crowded(index: dict[int, list[int]]) -> Iterator[tuple[int, list[int]]]:
        return ((value, numbers) for value, numbers in index.items() if len(numbers) <= CROWD)


def alike(one: Buffer, other: Buffer) -> bool:
    """Whether two files share any chunk, as far as their sketches can tell."""
    return not set(sketch(memoryview(one).cast("B"), SIZE)).isdisjoint(sketch(memoryview(other).cast("B"), SIZE))


def match_streams(olds: Sequence[Buffer], news: Sequence[Buffer]) -> list[int | None]:
    """For each new stream the old one to compare it with.

    If there are as many, the one at the same place; else one of the same bytes, else the most alike, else the one that
    stands where the neighbour before says.
    """
    if len(olds) == len(news):
        return list(range(len(news)))
    same = {hashlib.sha256(old).digest(): at for at, old in enumerate(olds)}
    index = Similar(len(olds), lambda number: olds[number])
    found: list[int | None] = []
    step = 0
    for at, new in enumerate(news):
        number = same.get(hashlib.sha256(new).digest())
        if number is None:
            number = next(iter(index.find(new, lambda _: True)), None)
        if number is not None:
            step = number - at
        elif 0 <= at + step < len(olds):
            number = at + step
        found.append(number)
    return found
