"""The `summary` of a repository: refs, and metadata about the whole.

Layout: `(a(s(taya{sv}))a{sv})`. Refs are sorted by bytes, since clients search by halves. The size of a commit is in
the byte order of whoever made the file; numbers in metadata are big-endian. `summary.sig` is a dictionary as in
`commitmeta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.deltaindex import KEY as DELTAS
from smidgen_deltas.ostree.deltaindex import listed_deltas
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, MAX_METADATA, Commit, swap64

SUMMARY: Final = "(a(s(taya{sv}))a{sv})"
COLLECTIONS: Final = "a{sa(s(taya{sv}))}"

MODE: Final = "ostree.summary.mode"
MODIFIED: Final = "ostree.summary.last-modified"
EXPIRES: Final = "ostree.summary.expires"
TOMBSTONES: Final = "ostree.summary.tombstone-commits"
INDEXED: Final = "ostree.summary.indexed-deltas"
COLLECTION: Final = "ostree.summary.collection-id"
COLLECTION_MAP: Final = "ostree.summary.collection-map"
STATIC_DELTAS: Final = DELTAS
TIMESTAMP: Final = "ostree.commit.timestamp"
VERSION: Final = "ostree.commit.version"

Metadata = Mapping[str, Variant]


class SummaryInvalid(FormatError):
    """A summary is well-formed GVariant but not what ostree allows."""


@dataclass(frozen=True, slots=True)
class SummaryRef:
    """One ref. size: bytes of the commit object, which clients take as a limit, or 0 for none."""

    ref: str
    commit: bytes
    size: int
    metadata: Metadata

    @property
    def timestamp(self) -> int | None:
        """UTC seconds of the commit, where the summary tells."""
        return _time(self.metadata, TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Summary:
    """refs: local ones, sorted by bytes."""

    refs: tuple[SummaryRef, ...]
    metadata: Metadata

    @classmethod
    def decode(cls, data: bytes) -> Summary:
        """Raises LimitExceeded, NotNormal, SummaryInvalid."""
        if len(data) > MAX_METADATA:
            raise LimitExceeded("summary is too large", size=len(data), limit=MAX_METADATA)
        entries, metadata = gvariant.decode(SUMMARY, data)
        return cls(_refs(entries), metadata)

    def encode(self) -> bytes:
        """The normal form, refs sorted."""
        return gvariant.encode(SUMMARY, (_entries(self.refs), self.metadata))

    @property
    def last_modified(self) -> int | None:
        """UTC seconds."""
        return _time(self.metadata, MODIFIED)

    @property
    def expires(self) -> int | None:
        """UTC seconds."""
        return _time(self.metadata, EXPIRES)

    @property
    def has_indexes(self) -> bool:
        """Whether clients look for deltas in `delta-indexes/`."""
        found = self.metadata.get(INDEXED)
        return found is not None and found.signature == "b" and bool(found.value)

    def deltas(self) -> dict[DeltaName, bytes]:
        """Deltas listed here, with the sha256 of their superblocks. Raises DeltaNameInvalid, DeltaIndexInvalid."""
        return listed_deltas(self.metadata)

    def collections(self) -> dict[str, tuple[SummaryRef, ...]]:
        """Refs of other collections, by collection. Raises SummaryInvalid."""
        found = self.metadata.get(COLLECTION_MAP)
        if found is None:
            return {}
        if found.signature != COLLECTIONS:
            raise SummaryInvalid("list of collections has another type", type=found.signature)
        return {name: _refs(entries) for name, entries in found.value.items()}


def describe(ref: str, commit: bytes, data: bytes) -> SummaryRef:
    """The entry of a ref that points at `commit`, whose object is `data`. Raises NotNormal, ObjectInvalid."""
    parsed = Commit.decode(data)
    metadata = {TIMESTAMP: time_variant(parsed.timestamp)}
    version = parsed.metadata.get("version")
    if version is not None and version.signature == "s":
        metadata[VERSION] = version
    return SummaryRef(ref, commit, len(data), metadata)


def time_variant(seconds: int) -> Variant:
    """A big-endian time, as metadata holds it."""
    return Variant("t", swap64(seconds))


def collections_variant(collections: Mapping[str, tuple[SummaryRef, ...]]) -> Variant:
    """The value of COLLECTION_MAP."""
    return Variant(COLLECTIONS, {name: _entries(refs) for name, refs in sorted(collections.items())})


def _refs(entries: Any) -> tuple[SummaryRef, ...]:
    found = []
    before = b""
    for ref, (size, commit, metadata) in entries:
        if ref.encode() <= before:
            raise SummaryInvalid("refs are not sorted, repeat or have no name", ref=ref[:200])
        if len(commit) != CHECKSUM_SIZE:
            raise SummaryInvalid("checksum is not 32 bytes", ref=ref[:200], length=len(commit))
        before = ref.encode()
        found.append(SummaryRef(ref, commit, size, metadata))
    return tuple(found)


def _entries(refs: tuple[SummaryRef, ...]) -> tuple[Any, ...]:
    ordered = sorted(refs, key=lambda entry: entry.ref.encode())
    return tuple((entry.ref, (entry.size, entry.commit, entry.metadata)) for entry in ordered)


def _time(metadata: Metadata, key: str) -> int | None:
    found = metadata.get(key)
    if found is None:
        return None
    if found.signature != "t":
        raise SummaryInvalid("time has another type", key=key, type=found.signature)
    return swap64(found.value)
