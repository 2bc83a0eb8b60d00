"""Taking contents from this device instead of the network.

Sources: the seeds the user named, and every store a pull has written. What is found is announced with the plan; what
turns out changed or damaged when it is read is fetched like anything else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from smidgen_client.fetch.sink import Blocks, ContentSink
from smidgen_client.names import Address
from smidgen_client.progress import Progress
from smidgen_client.seeds.index import FILEZ, LAYER, MAX_TAR, PLAIN, Location, SeedIndex
from smidgen_client.state.state import State
from smidgen_client.state.stores import Seed, SeedKind
from smidgen_client.targets.base import Place
from smidgen_deltas.errors import NotFound, SmidgenError
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.oci.layer import open_layer

BLOCK: Final = 1 << 18
THREADS: Final = 2
_SEED_KINDS: Final[Mapping[str, SeedKind]] = {"ostree": "ostree", "oci": "oci", "tree": "folder"}


class Seeds:
    """The sources of one pull."""

    def __init__(self, index: SeedIndex, state: State, progress: Progress) -> None:
        self._index, self._state, self._progress = index, state, progress
        self._found: dict[int, Location] = {}

    @classmethod
    @contextmanager
    def open(cls, state: State, progress: Progress) -> Iterator[Seeds]:
        with SeedIndex.open(state.seed_cache) as index:
            yield cls(index, state, progress)

    def find(self, contents: Sequence[ContentRef], wanted: bytearray, also: Iterable[Seed] = ()) -> None:
        """Look for the wanted contents; first bring the cache up to date for all seeds and for those in `also`."""
        if not any(wanted):
            return
        for seed in dict.fromkeys((*self._state.stores.seeds(), *also)):
            try:
                self._scan(seed)
            except (NotFound, SmidgenError) as error:
                self._progress.say(f"seed {seed.kind}:{seed.path} is of no use: {error}")
        located = self._lookup([contents[at].sha256 for at, flag in enumerate(wanted) if flag])
        self._found = {
            at: place
            for at, flag in enumerate(wanted)
            if flag and (place := located.get(contents[at].sha256)) and place.size == contents[at].size
        }

    def locate(self, contents: Iterable[ContentRef]) -> dict[bytes, Location]:
        """Where the cache knows contents to be, by sha256; the seeds are not looked at again."""
        sizes = {one.sha256: one.size for one in contents}
        return {sha256: place for sha256, place in self._lookup(sizes).items() if place.size == sizes[sha256]}

    def _lookup(self, sha256s: Collection[bytes]) -> dict[bytes, Location]:
        """Places of contents. Stores of this device of which the cache is not sure are looked through first."""
        found = self._index.find(sha256s)
        return self._index.find(sha256s) if self._list_stores() else found

    def _list_stores(self) -> bool:
        """Whether any store had to be looked through; the cache was lost, or the store changed behind our back."""
        unsure = False
        for address in dict.fromkeys(Address.parse(one.address) for one in self._state.stores.current()):
            if self._index.is_listed(address.path):
                continue
            unsure = True
            try:
                self._scan(Seed(_SEED_KINDS[address.kind], str(address.path)))
            except SmidgenError as error:
                self._progress.say(f"{address} is of no use as a source: {error}")
            self._index.set_listed(address.path)
        return unsure

    def _scan(self, seed: Seed) -> None:
        """Readers of every kind of seed are loaded only where one has to be looked through: that takes a while."""
        from smidgen_client.seeds.scan import scan

        scan(self._index, seed, self._progress)

    def without(self, wanted: bytearray) -> bytearray:
        """Those of `wanted` that are not on this device."""
        left = bytearray(wanted)
        for content in self._found:
            left[content] = 0
        return left

    def take(self, sink: ContentSink) -> list[str]:
        """Give the sink what was found; returns what was not right after all (it is still wanted then)."""
        failed: list[str] = []
        plain = [(content, place) for content, place in self._found.items() if place.packing != LAYER]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="seed") as pool:
            for reasons in pool.map(lambda one: _give(sink, one[0], _reader(one[1])), plain):
                failed += reasons
        layers: dict[Path, list[tuple[int, Location]]] = {}
        for content, place in self._found.items():
            if place.packing == LAYER:
                layers.setdefault(place.path, []).append((content, place))
        for path, wanted in layers.items():
            failed += _take_from_layer(sink, path, wanted)
        for reason in failed:
            self._progress.say(reason)
        return failed

    def remember(self, address: Address, places: Iterable[Place]) -> None:
        """Note where a store has its contents now."""
        by_packing: dict[str, list[Place]] = {}
        for place in places:
            by_packing.setdefault(place.packing, []).append(place)
        for packing, some in by_packing.items():
            self._index.put_places(address.path, packing, some)
        self._index.set_listed(address.path)


def _give(sink: ContentSink, content: int, blocks: Blocks) -> list[str]:
    if not sink.left[content]:
        return []
    try:
        right = sink.offer(content, blocks)
    except (SmidgenError, OSError) as error:
        return [f"a local file could not be used: {error}"]
    return [] if right else ["a local file is not what it was"]


def _reader(place: Location) -> Blocks:
    def plain() -> Iterator[bytes]:
        with place.path.open("rb") as file:
            file.seek(place.start)
            left = place.size
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    def filez() -> Iterator[bytes]:
        from smidgen_deltas.ostree.filez import inflate, read_filez_header

        with place.path.open("rb") as file:
            _, size = read_filez_header(file)
            yield from inflate(file, size)

    return {PLAIN: plain, FILEZ: filez}[place.packing]


def _take_from_layer(sink: ContentSink, path: Path, wanted: list[tuple[int, Location]]) -> list[str]:
    """One pass over a compressed layer for everything that is wanted of it."""
    ordered = sorted(wanted, key=lambda one: one[1].start)
    try:
        with path.open("rb") as file:
            return _pick(sink, open_layer("", file, MAX_TAR), ordered)
    except (SmidgenError, OSError) as error:
        return [f"a local layer could not be used: {error}"]


def _pick(sink: ContentSink, blocks: Iterator[bytes], ordered: list[tuple[int, Location]]) -> list[str]:
    failed: list[str] = []
    stream = _Stream(blocks)
    for content, place in ordered:
        if place.start < stream.at or not sink.left[content]:
            continue
        stream.skip(place.start - stream.at)
        sink.spool(content, stream.read(place.size))
        if sink.left[content]:
            failed.append("a local layer is not what it was")
    return failed


class _Stream:
    """A stream of blocks that is read forward."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""
        self.at = 0

    def skip(self, count: int) -> None:
        for _ in self.read(count):
            pass

    def read(self, count: int) -> Iterator[bytes]:
        while count:
            block = self._rest or next(self._blocks, b"")
            if not block:
                return
            self._rest = block[count:]
            piece = block[:count]
            count -= len(piece)
            self.at += len(piece)
            yield piece
