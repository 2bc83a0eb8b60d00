"""A delta that is fetched and applied at once, frame by frame.

The ref document names the sha256 of the header, the header those of all frames: everything is verified before it is
decoded, nothing waits for the end. Beginning and tree document are kept in a file until the pull has ended, so an
interrupted one goes on at the first frame of which something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.deltas.threads import Threads
from smidgen_client.fetch.sink import ContentSink
from smidgen_client.progress import Progress
from smidgen_client.pull.delta_store import DeltaStore, OldContents
from smidgen_client.targets.base import Assembly
from smidgen_client.transport.client import Transport
from smidgen_client.transport.content_range import Span
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.errors import DigestMismatch, FormatError, SizeMismatch
from smidgen_deltas.native.delta import LEAD, Header, Root, decode_header, decode_lead
from smidgen_deltas.native.refdoc import DeltaOffer

MAX_HEAD: Final = 128 << 20
SUFFIX: Final = ".delta"


class DeltaSource:
    """Build with `open_delta`; then `document` is the new tree document, verified."""

    def __init__(self, transport: Transport, offer: DeltaOffer, opened: _Opened, threads: Threads) -> None:
        self._transport, self._offer, self._opened, self._threads = transport, offer, opened, threads
        sizes = [frame.size for frame in opened.header.frames]
        self._starts = [opened.start + sum(sizes[:at]) for at in range(len(sizes) + 1)]

    @property
    def document(self) -> bytes:
        return self._opened.store.document

    def attach(self, sink: ContentSink, assembly: Assembly) -> None:
        """Say where contents go."""
        self._opened.store.attach(sink, assembly)

    def left(self, wanted: bytearray) -> int:
        """Bytes that are still to be fetched for the contents that `wanted` flags."""
        return sum(self._opened.header.frames[at].size for at in self._frames(wanted))

    def spare(self, wanted: bytearray) -> bool:
        """Whether the delta also has contents that are not wanted."""
        return not all(wanted[entry.index] for entry in self._opened.header.targets[1:])

    def costs(self, count: int) -> list[int]:
        """For each of `count` contents the bytes of the frames that rebuild it; 0 where there are none."""
        header, costs = self._opened.header, [0] * count
        for at, numbers in enumerate(header.touched()):
            for number in numbers if at else ():
                costs[header.targets[number].index] += header.frames[at].size
        return costs

    def _frames(self, wanted: bytearray) -> list[int]:
        """Numbers of the frames that rebuild something wanted; the first one is done already."""
        header = self._opened.header
        found = []
        for at, numbers in enumerate(header.touched()):
            if at and any(wanted[header.targets[number].index] for number in numbers):
                found.append(at)
        return found

    def apply(self, sink: ContentSink, progress: Progress) -> None:
        """Fetch and apply the frames that rebuild what `sink` still wants; fetching goes on while files are rebuilt.

        Raises IntegrityError, FormatError, NotFound: the delta is of no use; what was rebuilt before is kept. And what
        the transport raises.
        """
        applier, needed = self._opened.applier, self._frames(sink.left)
        progress.begin("fetching delta", self.left(sink.left))
        blocks = self._blocks(needed, progress)
        with self._threads.rebuild(applier):
            for at in range(1, len(self._opened.header.frames)):
                if at not in needed:
                    applier.skip()
                    continue
                applier.frame(blocks.take(self._opened.header.frames[at].size))
        progress.end()

    def _blocks(self, needed: list[int], progress: Progress) -> Stream:
        """The bytes of the needed frames: the open answer read on if they are all that is left, else ranges."""
        opened = self._opened
        if opened.stream is not None and needed == list(range(1, len(opened.header.frames))):
            opened.stream.advance = progress.advance
            return opened.stream
        self.close()
        spans: list[Span] = []
        for at in needed:
            if spans and spans[-1].end == self._starts[at]:
                spans[-1] = Span(spans[-1].start, self._starts[at + 1] - spans[-1].start)
            else:
                spans.append(Span(self._starts[at], self._starts[at + 1] - self._starts[at]))
        found = self._transport.spans(self._offer.piece.digest, self._offer.piece.size, spans) if spans else iter(())
        return Stream((block for _, block in found), progress.advance)

    @property
    def streaming(self) -> bool:
        """Whether an answer that has all of the rest is open: its bytes are set aside in the budget already."""
        return self._opened.stream is not None

    def close(self) -> None:
        """End the open answer."""
        if self._opened.stream is not None:
            self._opened.stream.close()
            self._opened.stream = None

    def forget(self) -> None:
        """The pull has ended well: the kept beginning is not needed any more."""
        self.close()
        for path in self._opened.kept.parent.glob(f"*{SUFFIX}"):  # those of given-up pulls too: they are a convenience
            path.unlink(missing_ok=True)


class Stream:
    """Blocks, read in pieces of any size."""

    def __init__(self, blocks: Iterator[bytes], advance: Callable[[int], None] | None = None) -> None:
        self._blocks = blocks
        self._rest = bytearray()
        self.advance = advance

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises SizeMismatch at the end."""
        while len(self._rest) < count:
            block = next(self._blocks, b"")
            if not block:
                raise SizeMismatch("the delta ends early", expected=count, found=len(self._rest))
            self._rest += block
            if self.advance is not None:
                self.advance(len(block))
        found = bytes(memoryview(self._rest)[:count])
        del self._rest[:count]
        return found

    def close(self) -> None:
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


@dataclass(slots=True)
class _Opened:
    """start: offset of the first frame; stream: the open answer, standing behind it."""

    header: Header
    start: int
    applier: Applier
    store: DeltaStore
    kept: Path
    stream: Stream | None


def open_delta(
    transport: Transport, offer: DeltaOffer, old: OldContents, folder: Path, threads: Threads
) -> DeltaSource:
    """Fetch the beginning of a delta (or take what an earlier pull kept in `folder`) and rebuild the tree document.

    threads: what applying it may take.
    Raises IntegrityError, FormatError, NotFound: the delta is of no use. And what the transport raises.
    """
    kept = folder / f"{offer.piece.digest.hex}{SUFFIX}"
    if kept.exists() and kept.stat().st_size <= MAX_HEAD:
        try:
            begun = _begin(Stream(iter((kept.read_bytes(),))), offer, old, kept, None)
            return DeltaSource(transport, offer, begun, threads)
        except (DigestMismatch, FormatError, SizeMismatch):
            kept.unlink()
    stream = Stream(transport.blob(offer.piece.digest, offer.piece.size))
    try:
        return DeltaSource(transport, offer, _begin(stream, offer, old, kept, stream), threads)
    except BaseException:
        stream.close()
        raise


def _begin(stream: Stream, offer: DeltaOffer, old: OldContents, kept: Path, rest: Stream | None) -> _Opened:
    head = stream.take(min(LEAD, offer.piece.size))
    lead = decode_lead(head)
    if lead.sha256 != offer.header.raw:
        raise DigestMismatch("another delta than was offered", expected=str(offer.header), found=lead.sha256.hex())
    if lead.start + lead.size > offer.piece.size:
        raise SizeMismatch("the header is larger than the delta", size=lead.size)
    if (more := lead.start + lead.size - len(head)) > 0:
        head += stream.take(more)
    header = decode_header(lead, head[lead.start : lead.start + lead.size])
    _check(header, offer, lead.start + lead.size)
    store = DeltaStore(old)
    applier = Applier(header, store)
    start, first = lead.start + lead.size, header.frames[0]
    data = head[start:]
    data += stream.take(max(start + first.size - len(head), 0))
    applier.frame(data[: first.size])
    if rest is not None and len(data) > first.size:
        rest = None  # a delta so small that the lead reached into the next frame: asked for again
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(head[:start] + data[: first.size])
    return _Opened(header, start, applier, store, kept, rest)


def _check(header: Header, offer: DeltaOffer, start: int) -> None:
    if header.root is not Root.TREE or header.frames[0].targets != 1:
        raise FormatError("not a delta of trees whose first frame is the tree document")
    if any(entry.sha256 is not None for entry in header.targets[1:]):
        raise FormatError("the delta rebuilds files that are not in its tree")
    if start + sum(frame.size for frame in header.frames) != offer.piece.size:
        raise SizeMismatch("the frames are not as long as the delta", expected=offer.piece.size)
