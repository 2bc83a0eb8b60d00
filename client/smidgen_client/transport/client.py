"""Reading a server's files: small documents, whole blobs, spans of blobs.

Rules
 * one range per request, never several
 * what has arrived is never asked for again: a broken answer is gone on with from where it broke
 * a server that answers a range with everything is read once, the wanted spans picked from the stream, and the
   verdict is remembered for the host
 * no byte beyond the budget is read
What is *not* decided here: whether bytes are right. Readers check digests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx2

from smidgen_client.names import check_server
from smidgen_client.transport.answers import RangeRefused, Retryable, ShortBody, library_errors, refuse
from smidgen_client.transport.clock import Clock, SystemClock
from smidgen_client.transport.content_range import Span, WrongRange, partial
from smidgen_client.transport.limits import Meter, RateLimit, Traffic
from smidgen_client.transport.link import Link
from smidgen_client.transport.retry import Attempts, RetryPolicy
from smidgen_client.transport.tls import SystemTrust
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import LimitExceeded, TransportError
from smidgen_deltas.login import Address, shown

if TYPE_CHECKING:
    from smidgen_client.transport.bundle import BundleFile

AGENT: Final = "smidgen/0.1"
BUNDLE: Final = "bundle:"  # a file instead of a server
BUNDLE_BASE: Final = "http://bundle"  # what the library is told; nothing is sent anywhere
BLOCK: Final = 1 << 16
MAX_REDIRECTS: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """How to talk to a server.

    Args:
        token: sent as Bearer to the server itself, never to where it redirects; a login in its URL comes before it.
        max_bytes: budget of body bytes; rate: bytes per second. None for no limit.
        connections: most connections at once.
        connect, stall: seconds to wait for a connection, and for the next bytes of an answer.
    """

    token: str | None = None
    max_bytes: int | None = None
    rate: int | None = None
    connections: int = 4
    connect: float = 10.0
    stall: float = 30.0
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A document with its ETag ("" when there is none)."""

    body: bytes
    etag: str


class Transport:
    """One server, one pool of connections; used by several threads. Close it, or use it in `with`."""

    def __init__(self, base_url: str, options: Options = Options(), clock: Clock | None = None) -> None:  # noqa: B008
        self.bundle = _bundle(base_url)
        address = check_server(base_url) if self.bundle is None else Address(BUNDLE_BASE)
        self._base = address.url.rstrip("/")
        self._stop = threading.Event()
        self._clock = clock or SystemClock(self._stop)
        self._retry = options.retry
        self._meter = Meter(options.max_bytes)
        self._rate = RateLimit(options.rate, self._clock)
        self.link = Link()
        self._ranges_work: bool | None = None
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if options.token:
            headers["Authorization"] = f"Bearer {options.token}"
        self._http = httpx2.Client(
            headers=headers,
            auth=address.login,
            timeout=httpx2.Timeout(options.stall, connect=options.connect),
            limits=httpx2.Limits(
                max_connections=options.connections + 1, max_keepalive_connections=options.connections + 1
            ),
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            verify=SystemTrust(),
            transport=self.bundle,
        )

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        self._http.close()

    def abort(self) -> None:
        """End waits and further reading in all threads."""
        self._stop.set()

    @property
    def base_url(self) -> str:
        """By which keys, links and installs are remembered."""
        return self._base if self.bundle is None else BUNDLE

    @property
    def traffic(self) -> Traffic:
        return self._meter.traffic

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def ranges_work(self) -> bool | None:
        """Whether the host serves ranges; None before it was asked for one."""
        return self._ranges_work

    def document(self, path: str, limit: int, *, etag: str = "") -> SmallFile | None:
        """A small mutable file, read whole; None when it still has the given ETag.

        Raises NotFound, Unauthorized, Denied, LimitExceeded (more than `limit` bytes), TransportError,
        ByteBudgetExceeded.
        """
        attempts = Attempts(self._retry, self._clock)
        while True:
            try:
                return self._document(path, limit, etag)
            except Retryable as error:
                attempts.failed(error, error.retry_after)
            except ShortBody as error:
                attempts.failed(error)

    def blob(self, digest: Digest, size: int, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from `start` to its end, in blocks. Raises as `spans`."""
        for _, block in self.spans(digest, size, [Span(start, size - start)]):
            yield block

    def spans(
        self, digest: Digest, size: int, wanted: Sequence[Span], *, fresh: bool = False
    ) -> Iterator[tuple[int, bytes]]:
        """Blocks of several spans of one blob, each with the number of its span, in order.

        Args:
            size: of the whole blob.
            wanted: ascending, not overlapping, none empty.
            fresh: ask caches on the way to look at the origin again.
        Raises:
            BlobUnknown, Unauthorized, Denied: for good. ByteBudgetExceeded: before reading on.
            TransportError: when retries are used up.
        """
        reading = _Reading(f"u/blobs/{digest.hex}", size, list(wanted), fresh=fresh)
        attempts = Attempts(self._retry, self._clock)
        while not reading.done:
            try:
                for found in self._read(reading):
                    attempts.progressed()
                    yield found
            except RangeRefused:
                self._ranges_work, reading.whole_only = False, True
            except Retryable as error:
                attempts.failed(error, error.retry_after)
            except (ShortBody, WrongRange) as error:
                attempts.failed(error)

    def _document(self, path: str, limit: int, etag: str) -> SmallFile | None:
        headers = {"If-None-Match": etag} if etag else {}
        with self._get(path, headers, reserve=0) as answer:
            refuse(answer, ranged=False, blob=False)
            if answer.status_code == 304:
                return None
            body = bytearray()
            for block in self._blocks(answer):
                self._meter.received(len(block), reserved=0)
                body += block
                if len(body) > limit:
                    raise LimitExceeded("the document is too large", url=shown(str(answer.url)), limit=limit)
            return SmallFile(bytes(body), answer.headers.get("etag", ""))

    def _read(self, reading: _Reading) -> Iterator[tuple[int, bytes]]:
        """One request: yields what is still wanted and comes with it."""
        whole = self._ranges_work is False or reading.whole_only or reading.is_whole
        asked = Span(0, reading.size) if whole else reading.next_span
        headers = {} if whole else {"Range": asked.header()}
        if reading.fresh:
            headers["Cache-Control"] = "no-cache"
        if not whole and reading.broken and reading.etag.startswith('"'):
            headers["If-Range"] = reading.etag
        left = _Reserved(self._meter, asked.length)
        try:
            with self._get(reading.path, headers, reserve=asked.length) as answer:
                refuse(answer, ranged=not whole, blob=True)
                carried = self._carried(answer, reading, asked, whole=whole)
                reading.etag = answer.headers.get("etag", "")
                reading.broken = True
                at = carried.start
                for block in self._blocks(answer):
                    useful = block[: carried.end - at]
                    left.received(len(block))
                    yield from reading.take(at, useful)
                    at += len(useful)
                    if at == carried.end or reading.done:
                        break
                if at < carried.end and not reading.done:
                    raise ShortBody("the answer ended early", url=shown(str(answer.url)), got=at, wanted=carried.end)
        finally:
            left.release()

    def _carried(self, answer: httpx2.Response, reading: _Reading, asked: Span, *, whole: bool) -> Span:
        if answer.status_code == 206:
            if whole:
                raise WrongRange("206 for a request of the whole", url=shown(str(answer.url)))
            etag = answer.headers.get("etag", "")
            if reading.broken and reading.etag.startswith('"') and etag.startswith('"') and etag != reading.etag:
                raise WrongRange("the blob has another ETag than before", url=shown(str(answer.url)))
            found = partial(answer.headers, asked, reading.size)
            self._ranges_work = True
            return found
        length = answer.headers.get("content-length", "")
        if length.isdigit() and int(length) != reading.size:
            raise WrongRange("the blob is not as long as it should be", url=shown(str(answer.url)), size=length)
        if not whole:
            self._ranges_work = False
        return Span(0, reading.size)

    @contextmanager
    def _get(self, path: str, headers: dict[str, str], *, reserve: int) -> Iterator[httpx2.Response]:
        if self._stop.is_set():
            raise TransportError("the transfer was stopped")
        self._meter.reserve(reserve)
        url = f"{self._base}/{path}"
        asked = self._clock.now()
        with library_errors(url):
            with self._http.stream("GET", url, headers=headers) as answer:
                self.link.answered(self._clock.now() - asked)
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise TransportError("the answer is encoded although that was not asked for", url=url)
                yield answer

    def _blocks(self, answer: httpx2.Response) -> Iterator[bytes]:
        """The body as it comes; only waiting for it counts as the link's time, not what the reader does with it.

        Waiting for the first block is the server's time and a round trip's, so that block says nothing about bandwidth.
        """
        blocks, first = answer.iter_raw(), True
        while True:
            asked = self._clock.now()
            block = next(blocks, b"")
            self._rate.passed(len(block))
            if not block:
                break
            if self._stop.is_set():
                raise TransportError("the transfer was stopped")
            if not first:
                self.link.carried(len(block), self._clock.now() - asked)
            first = False
            yield block


def _bundle(base_url: str) -> BundleFile | None:
    if not base_url.startswith(BUNDLE):
        return None
    from smidgen_client.transport.bundle import BundleFile  # few pulls need it

    return BundleFile(Path(base_url.removeprefix(BUNDLE)))


class _Reading:
    """What is still wanted of one blob."""

    def __init__(self, path: str, size: int, spans: list[Span], *, fresh: bool) -> None:
        self.path, self.size, self.fresh, self._spans = path, size, fresh, spans
        self._at = 0
        self._position = spans[0].start if spans else 0
        self.etag = ""
        self.broken = self.whole_only = False

    @property
    def done(self) -> bool:
        return self._at >= len(self._spans)

    @property
    def next_span(self) -> Span:
        return Span(self._position, self._spans[self._at].end - self._position)

    @property
    def is_whole(self) -> bool:
        return self.next_span == Span(0, self.size)

    def take(self, start: int, block: bytes) -> Iterator[tuple[int, bytes]]:
        """The wanted parts of a block that lies at `start` of the blob."""
        end = start + len(block)
        while not self.done and self._position < end:
            span = self._spans[self._at]
            first, last = max(self._position, start), min(span.end, end)
            number = self._at
            if first < last:
                self._position = last
            if self._position == span.end:
                self._at += 1
                if not self.done:
                    self._position = self._spans[self._at].start
            if first < last:
                yield number, block if (first, last) == (start, end) else block[first - start : last - start]
            else:
                return


class _Reserved:
    """The part of a budget that one request set aside."""

    def __init__(self, meter: Meter, count: int) -> None:
        self._meter, self._left = meter, count

    def received(self, count: int) -> None:
        covered = min(count, self._left)
        self._left -= covered
        self._meter.received(count, reserved=covered)

    def release(self) -> None:
        self._meter.release(self._left)
        self._left = 0
