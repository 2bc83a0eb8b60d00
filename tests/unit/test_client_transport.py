"""The transport against a server that misbehaves: every row of faults, counted at the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from smidgen_client.transport.client import Options, Transport
from smidgen_client.transport.content_range import Span
from smidgen_client.transport.retry import RetryPolicy, ServerBusy
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import (
    BlobUnknown,
    ByteBudgetExceeded,
    Denied,
    LimitExceeded,
    NotFound,
    TransportError,
    Unauthorized,
    UsageError,
)
from support.device_trees import noise
from support.surface_simulator import Fault, Running, Surface, serve

BODY = noise("body", 300_000)
SPANS = [Span(1000, 500), Span(5000, 70_000), Span(200_000, 100_000)]


class TestClock:
    """Time that only sleeps move."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.time += seconds

    def jitter(self) -> float:
        return 0.5


Opener = Callable[..., tuple[Running, Transport, TestClock, Digest]]


@pytest.fixture
def opened() -> Iterator[Opener]:
    closers: list[Callable[[], object]] = []

    def start(*faults: Fault, **options: object) -> tuple[Running, Transport, TestClock, Digest]:
        surface = Surface()
        digest = surface.blob(BODY)
        context = serve(surface, *faults)
        running = context.__enter__()
        clock = TestClock()
        transport = Transport(running.url, replace(Options(stall=0.3), **options), clock)  # type: ignore[arg-type]
        closers.append(lambda: context.__exit__(None, None, None))
        closers.append(transport.close)
        return running, transport, clock, digest

    yield start
    for close in reversed(closers):
        close()


def read(transport: Transport, digest: Digest, spans: list[Span] = SPANS) -> list[bytes]:
    found = [b""] * len(spans)
    for number, block in transport.spans(digest, len(BODY), spans):
        found[number] += block
    return found


def expected(spans: list[Span] = SPANS) -> list[bytes]:
    return [BODY[span.start : span.end] for span in spans]


def test_spans_come_with_one_single_range_request_each(opened: Opener) -> None:
    running, transport, _, digest = opened()
    assert read(transport, digest) == expected()
    assert [one.range for one in running.log] == [span.header() for span in SPANS]
    assert running.sent() == sum(span.length for span in SPANS) == transport.traffic.bytes
    assert transport.traffic.requests == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault("truncate", at=20_000, skip=1),
        Fault("truncate", at=0),
        Fault("short", at=300),
        Fault("short", at=0),
        Fault("stall", at=10_000, skip=2),
        Fault("status", status=503),
        Fault("status", status=500, times=3),
        Fault("status", status=429, retry_after="2"),
        Fault("wrong-range", skip=1),
        Fault("multipart"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.at or fault.status}",
)
def test_a_passing_fault_is_survived_without_fetching_anything_twice(opened: Opener, fault: Fault) -> None:
    running, transport, clock, digest = opened(fault)
    assert read(transport, digest) == expected()
    assert clock.slept, "a retry waits"
    useful = sum(one.sent for one in running.log if one.status in (200, 206))
    wasted = useful - sum(span.length for span in SPANS)
    # only answers that were refused as a whole (wrong range, multipart) may have cost bytes
    assert wasted <= (80_000 if fault.kind in ("wrong-range", "multipart") else 0)


@pytest.mark.parametrize("status", [400, 416, 501])
def test_a_host_that_refuses_ranges_is_read_once_as_a_whole(opened: Opener, status: int) -> None:
    running, transport, _, digest = opened(Fault("status", status=status, times=-1, ranged_only=True))
    assert read(transport, digest) == expected()
    assert transport.ranges_work is False
    assert running.requests() == 2
    assert running.sent() <= len(BODY) + 2


def test_a_200_in_place_of_206_is_read_once(opened: Opener) -> None:
    running, transport, clock, digest = opened(Fault("ignore-range", times=-1))
    assert read(transport, digest) == expected()
    assert running.requests() == 1
    assert not clock.slept
    assert read(transport, digest, SPANS[:1]) == expected(SPANS[:1])
    assert running.log[-1].range is None, "the verdict is remembered"


def test_a_late_200_goes_on_with_the_spans_that_are_left(opened: Opener) -> None:
    running, transport, _, digest = opened(Fault("ignore-range", skip=1, times=-1))
    assert read(transport, digest) == expected()
    assert running.requests() == 2


def test_a_whole_blob_resumes_with_if_range(opened: Opener) -> None:
    running, transport, _, digest = opened(Fault("truncate", at=100_000))
    assert b"".join(transport.blob(digest, len(BODY))) == BODY
    second = running.log[1]
    assert second.range == f"bytes=100000-{len(BODY) - 1}"
    assert second.headers["If-Range"].startswith('"')
    assert running.sent() == len(BODY)


def test_a_lie_in_the_body_is_not_the_transports_business(opened: Opener) -> None:
    _, transport, _, digest = opened(Fault("mislabel"))
    assert read(transport, digest)[0] != expected()[0]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthorized), (403, Denied), (404, BlobUnknown), (410, BlobUnknown), (418, TransportError)],
)
def test_a_final_refusal_is_not_retried(opened: Opener, status: int, error: type[Exception]) -> None:
    running, transport, clock, digest = opened(Fault("status", status=status, times=-1))
    with pytest.raises(error):
        read(transport, digest)
    assert running.requests() == 1
    assert not clock.slept


def test_retries_end_and_wait_longer_each_time(opened: Opener) -> None:
    running, transport, clock, digest = opened(
        Fault("status", status=503, times=-1), retry=RetryPolicy(attempts=5, base=1.0, cap=3.0)
    )
    with pytest.raises(TransportError):
        read(transport, digest)
    assert running.requests() == 5
    assert clock.slept == [0.5, 1.0, 1.5, 1.5]


def test_retry_after_is_a_lower_bound_and_patience_has_an_end(opened: Opener) -> None:
    _, transport, clock, digest = opened(Fault("status", status=429, retry_after="40"))
    assert read(transport, digest) == expected()
    assert 40 <= clock.slept[0] <= 44.1
    _, transport, clock, digest = opened(Fault("status", status=503, retry_after="86400"))
    with pytest.raises(ServerBusy) as caught:
        read(transport, digest)
    assert caught.value.detail["retry_after"] == 86400
    assert not clock.slept


def test_progress_resets_the_count_of_failures(opened: Opener) -> None:
    faults = [Fault("truncate", at=30_000) for _ in range(9)]
    _, transport, _, digest = opened(*faults, retry=RetryPolicy(attempts=2))
    assert b"".join(transport.blob(digest, len(BODY))) == BODY


def test_the_budget_is_never_exceeded(opened: Opener) -> None:
    running, transport, _, digest = opened(max_bytes=80_000)
    with pytest.raises(ByteBudgetExceeded):
        read(transport, digest)
    assert running.sent() == transport.traffic.bytes == 70_500
    assert running.requests() == 2, "the third was not even asked for"


def test_an_unasked_for_body_stops_at_the_budget(opened: Opener) -> None:
    _, transport, _, digest = opened(Fault("ignore-range", times=-1), max_bytes=100_000)
    with pytest.raises(ByteBudgetExceeded):
        read(transport, digest)
    assert transport.traffic.bytes <= 100_000


def test_the_rate_is_kept(opened: Opener) -> None:
    _, transport, clock, digest = opened(rate=100_000)
    read(transport, digest)
    assert clock.time == pytest.approx(170_500 / 100_000, rel=0.05)


def test_the_link_is_measured_on_all_but_the_first_block_of_a_body(opened: Opener) -> None:
    _, transport, _, digest = opened(rate=100_000)
    read(transport, digest, [Span(0, 1)])
    assert transport.link.bandwidth == 0
    read(transport, digest, [Span(0, len(BODY))])
    assert transport.link.bandwidth == pytest.approx(100_000, rel=0.01)


def test_documents_are_bounded_and_conditional(opened: Opener) -> None:
    running, transport, _, _ = opened(Fault("flood", match="endless"))
    found = transport.document("u/keys.json", 10_000)
    assert found is not None
    assert found.body == running.surface.files["u/keys.json"]
    assert transport.document("u/keys.json", 10_000, etag=found.etag) is None
    with pytest.raises(LimitExceeded):
        transport.document("u/endless.json", 10_000)
    with pytest.raises(NotFound):
        transport.document("u/nothing.json", 10_000)


def test_an_encoded_answer_and_a_useless_url_are_refused(opened: Opener) -> None:
    _, transport, _, digest = opened(Fault("encode", times=-1))
    with pytest.raises(TransportError):
        read(transport, digest)
    with pytest.raises(UsageError):
        Transport("ftp://example.org")


def test_the_token_is_sent_and_a_dead_server_is_a_transport_error(opened: Opener) -> None:
    running, transport, _, digest = opened(token="secret")
    read(transport, digest)
    assert running.log[0].headers["Authorization"] == "Bearer secret"
    gone, transport, _, digest = opened(Fault("gone"))
    with pytest.raises(TransportError):
        read(transport, digest)
