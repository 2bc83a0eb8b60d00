"""Range and conditional headers: RFC 9110 and the list of the conformance suite (2048-byte blob)."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from smidgen_server.api.ranges import Range, unchanged, wanted_range
from smidgen_server.blobs.base import RangeInvalid

ETAG = '"sha256:00"'


def asked(value: str, size: int = 2048, **more: str) -> Range | None:
    return wanted_range(Headers({"range": value, **more}), size, ETAG)


@pytest.mark.parametrize(
    ("value", "start", "length"),
    [
        ("bytes=500-1499", 500, 1000),
        ("bytes=500-", 500, 1548),
        ("bytes=-500", 1548, 500),
        ("bytes=2000-5000", 2000, 48),
        ("bytes=0-0", 0, 1),
        ("bytes=2047-", 2047, 1),
        ("bytes=-1", 2047, 1),
        ("bytes=-9999", 0, 2048),
        ("Bytes = 1 - 2", 1, 2),
        ("bytes=0-9999999999999999999", 0, 2048),
    ],
)
def test_one_range(value: str, start: int, length: int) -> None:
    assert asked(value) == Range(start, length)


@pytest.mark.parametrize("value", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"])
def test_no_such_bytes(value: str) -> None:
    with pytest.raises(RangeInvalid) as failure:
        asked(value)
    assert failure.value.status == 416
    assert failure.value.detail["size"] == 2048


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_blob_has_no_bytes(value: str) -> None:
    with pytest.raises(RangeInvalid):
        asked(value, size=0)


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,5-6", "items=0-1", "bytes=1", "bytes=+1-2", "bytes=²-3"]
    + ["bytes=0-" + "9" * 20],
)
def test_what_is_not_understood_is_ignored(value: str) -> None:
    assert asked(value) is None


def test_if_range() -> None:
    assert asked("bytes=0-0", **{"if-range": ETAG}) == Range(0, 1)
    assert asked("bytes=0-0", **{"if-range": '"other"'}) is None
    assert asked("bytes=0-0", **{"if-range": f"W/{ETAG}"}) is None
    assert asked("bytes=0-0", **{"if-range": "Mon, 23 Nov 2026 00:00:00 GMT"}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(ETAG, True), (f"W/{ETAG}", True), (f'"a", {ETAG}', True), ("*", True), ('"a"', False), ("", False)],
)
def test_if_none_match(value: str, expected: bool) -> None:
    assert unchanged(Headers({"if-none-match": value}), ETAG) is expected


def test_without_if_none_match() -> None:
    assert not unchanged(Headers({}), ETAG)
