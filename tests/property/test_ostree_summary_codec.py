"""Summaries and detached metadata come back; damaged ones are refused or are exactly what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, decode_commitmeta, signatures, with_signature
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import Commit
from smidgen_deltas.ostree.summary import (
    COLLECTION_MAP,
    EXPIRES,
    INDEXED,
    MODIFIED,
    SUMMARY,
    VERSION,
    Metadata,
    Summary,
    SummaryInvalid,
    SummaryRef,
    collections_variant,
    describe,
    time_variant,
)

Refs = tuple[SummaryRef, ...]

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
TIMES = st.integers(0, (1 << 64) - 1)
VALUES = st.one_of(
    TIMES.map(time_variant),
    TEXT.map(lambda text: Variant("s", text)),
    st.binary(max_size=9).map(lambda data: Variant("ay", data)),
    st.booleans().map(lambda flag: Variant("b", flag)),
)
METADATA = st.dictionaries(TEXT, VALUES, max_size=4)
CHECKSUMS = st.binary(min_size=32, max_size=32)
REFS = st.dictionaries(TEXT, st.tuples(CHECKSUMS, TIMES, METADATA), max_size=5).map(
    lambda found: tuple(SummaryRef(name, *found[name]) for name in sorted(found, key=str.encode))
)


@given(REFS, METADATA)
def test_summaries_come_back(refs: Refs, metadata: Metadata) -> None:
    body = Summary(refs, metadata).encode()
    assert Summary.decode(body) == Summary(refs, metadata)
    assert Summary(tuple(reversed(refs)), metadata).encode() == body, "refs are sorted by whoever writes them"


@given(st.dictionaries(TEXT, REFS, max_size=3))
def test_refs_of_other_collections_come_back(collections: dict[str, tuple[SummaryRef, ...]]) -> None:
    body = Summary((), {COLLECTION_MAP: collections_variant(collections)}).encode()
    assert Summary.decode(body).collections() == collections


@given(TIMES, TIMES, st.booleans())
def test_what_a_summary_says_of_itself(modified: int, expires: int, indexed: bool) -> None:
    metadata = {MODIFIED: time_variant(modified), EXPIRES: time_variant(expires), INDEXED: Variant("b", indexed)}
    found = Summary.decode(Summary((), metadata).encode())
    assert (found.last_modified, found.expires, found.has_indexes) == (modified, expires, indexed)
    empty = Summary((), {})
    assert (empty.last_modified, empty.expires, empty.has_indexes, empty.deltas(), empty.collections()) == (
        None,
        None,
        False,
        {},
        {},
    )


@pytest.mark.parametrize(
    "names",
    [("b", "a"), ("a", "a"), ("",), ("Z", "É", "a")],
)
def test_refs_out_of_order_are_refused(names: tuple[str, ...]) -> None:
    entries = tuple((name, (1, bytes(32), {})) for name in names)
    with pytest.raises(SummaryInvalid):
        Summary.decode(gvariant.encode(SUMMARY, (entries, {})))


def test_short_checksums_and_other_types_are_refused() -> None:
    with pytest.raises(SummaryInvalid):
        Summary.decode(gvariant.encode(SUMMARY, ((("a", (1, bytes(31), {})),), {})))
    found = Summary((), {EXPIRES: Variant("s", "never"), COLLECTION_MAP: Variant("as", ())})
    for look in (lambda: found.expires, found.collections):
        with pytest.raises(SummaryInvalid):
            look()


@given(TEXT, TIMES)
def test_a_ref_is_described_from_its_commit(version: str, timestamp: int) -> None:
    commit = Commit({"version": Variant("s", version)}, None, (), "", "", timestamp, bytes(32), bytes(32))
    found = describe("a", bytes(32), commit.encode())
    assert (found.timestamp, found.metadata[VERSION].value, found.size) == (timestamp, version, len(commit.encode()))


@given(REFS, METADATA, st.data())
def test_damaged_summaries_are_refused_or_read_as_they_are(refs: Refs, metadata: Metadata, data: st.DataObject) -> None:
    body = bytearray(Summary(refs, metadata).encode())
    for _ in range(data.draw(st.integers(1, 3)) if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        found = Summary.decode(bytes(body))
    except SmidgenError:
        return
    assert found.encode() == body


@given(METADATA, st.lists(st.binary(max_size=70), max_size=4))
def test_signatures_are_added_behind_what_is_there(metadata: dict[str, Variant], added: list[bytes]) -> None:
    data = gvariant.encode("a{sv}", metadata)
    for signature in added:
        data = with_signature(data, ED25519, signature)
    assert list(signatures(data, ED25519)) == added
    assert {key: value for key, value in decode_commitmeta(data).items() if key != ED25519} == metadata


@given(st.binary(max_size=200))
def test_any_bytes_are_detached_metadata_or_refused(data: bytes) -> None:
    try:
        found = decode_commitmeta(data)
    except SmidgenError:
        return
    assert gvariant.encode("a{sv}", found) == data
