"""The summary of a repository: what stock clients and flatpak read to learn of its refs.

A summary that came with the refs (from a mirrored remote or a published repository) is served byte for byte, with its
signature, while it says exactly what this server has. Otherwise one is made: entries in byte order, the metadata that
the source (or the summary before) has for a commit kept, since flatpak needs its `xa.*` keys, signed by the server's
own keys where it has any.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import Commit, ObjectType
from smidgen_server.index import ostree, surface
from smidgen_server.index.tables.ostree import ostree_summary
from smidgen_server.services.summary_sign import sign_summary

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

SUMMARY: Final = "(a(s(taya{sv}))a{sv})"
DELTAS: Final = "ostree.static-deltas"
MODE: Final = "ostree.summary.mode"
MODIFIED: Final = "ostree.summary.last-modified"
TOMBSTONES: Final = "ostree.summary.tombstone-commits"
TIMESTAMP: Final = "ostree.commit.timestamp"
VERSION: Final = "ostree.commit.version"
_OWN: Final = frozenset({MODE, MODIFIED, TOMBSTONES, DELTAS, "ostree.summary.expires", "ostree.summary.indexed-deltas"})

CACHES: Final = ("xa.cache", "xa.sparse-cache")

Metadata = dict[str, Variant]


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A summary as it was found beside the refs, and its detached signature."""

    body: bytes
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a summary says of one ref: size of the commit object, its checksum, metadata."""

    size: int
    commit: bytes
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Summary:
    entries: dict[str, Entry]
    metadata: Metadata

    @classmethod
    def decode(cls, body: bytes) -> Summary:
        """Raises NotNormal."""
        entries, metadata = gvariant.decode(SUMMARY, body)
        return cls({name: Entry(size, commit, about) for name, (size, commit, about) in entries}, metadata)

    def kept_metadata(self, targets: Mapping[str, bytes]) -> Metadata:
        """Global metadata that is still true when the refs point at `targets`: not what the server says itself, and
        of flatpak's caches, which are keyed by ref, what is about these commits."""
        same = {name for name, entry in self.entries.items() if targets.get(name) == entry.commit}
        kept = {name: value for name, value in self.metadata.items() if name not in _OWN}
        return kept | {name: _only(kept[name], same) for name in CACHES if name in kept}

    def encode(self) -> bytes:
        ordered = sorted(self.entries.items(), key=lambda item: item[0].encode())  # clients search by halves
        entries = tuple((name, (one.size, one.commit, one.metadata)) for name, one in ordered)
        return gvariant.encode(SUMMARY, (entries, self.metadata))


def refs_of(body: bytes) -> dict[str, bytes]:
    """Refs and commits that a summary lists. Raises NotNormal."""
    return {name: entry.commit for name, entry in Summary.decode(body).entries.items()}


def refresh(services: Services, session: Session, repo_id: int, *, source: SourceSummary | None = None) -> None:
    """Bring the summary up to date with the refs, in the caller's transaction.

    Args:
        source: replaces the one kept from before.
    """
    row = session.execute(select(ostree_summary).where(ostree_summary.c.repo_id == repo_id)).one_or_none()
    if source is None and row is not None and row.source is not None:
        source = SourceSummary(row.source, row.source_signature)
    targets = {name: digest.raw for name, digest in surface.refs(session, repo_id)}
    before = Summary.decode(row.body) if row is not None else Summary({}, {})
    body, signature = _current(session, repo_id, targets, source, before)
    if signature is None and row is not None and _same(row.body, body):
        body, signature, modified = row.body, row.signature, row.modified
    else:
        modified = int(time.time())
    if signature is None:
        signature = sign_summary(services, body)
    session.execute(delete(ostree_summary).where(ostree_summary.c.repo_id == repo_id))
    session.execute(
        insert(ostree_summary).values(
            repo_id=repo_id,
            body=body,
            signature=signature,
            modified=modified,
            source=source.body if source else None,
            source_signature=source.signature if source else None,
        )
    )


def _current(
    session: Session,
    repo_id: int,
    targets: Mapping[str, bytes],
    source: SourceSummary | None,
    before: Summary,
) -> tuple[bytes, bytes | None]:
    """The summary for these refs, and its signature if the source's holds."""
    known = Summary.decode(source.body) if source else Summary({}, {})
    listed = {name: entry.commit for name, entry in known.entries.items()}
    if source is not None and listed == targets and not _lists_deltas(known):
        return source.body, source.signature
    bodies = ostree.visible_bodies(session, repo_id, [(ObjectType.COMMIT, commit) for commit in set(targets.values())])
    entries = {}
    for name, commit in targets.items():
        body = bodies[(ObjectType.COMMIT, commit)]
        told = [one.entries[name] for one in (known, before) if name in one.entries]
        about = next((one.metadata for one in told if one.commit == commit), None)
        entries[name] = Entry(len(body), commit, about if about is not None else _describe(Commit.decode(body)))
    metadata = _joined(before.kept_metadata(targets), known.kept_metadata(targets))
    metadata |= {
        MODE: Variant("s", "archive-z2"),
        MODIFIED: Variant("t", _big(int(time.time()))),
        TOMBSTONES: Variant("b", False),
    }
    return Summary(entries, metadata).encode(), None


def _lists_deltas(summary: Summary) -> bool:
    """Clients insist on deltas that a summary lists, and those of the source are not here."""
    found = summary.metadata.get(DELTAS)
    return found is not None and bool(found.value)


def _describe(commit: Commit) -> Metadata:
    found: Metadata = {TIMESTAMP: Variant("t", _big(commit.timestamp))}
    version = commit.metadata.get("version")
    if version is not None and version.signature == "s":
        found[VERSION] = version
    return found


def _joined(old: Metadata, new: Metadata) -> Metadata:
    """The new metadata where both have it; of flatpak's caches the entries of both."""
    both = old | new
    for name in CACHES:
        if name in old and name in new:
            both[name] = _join(old[name], new[name])
    return both


def _join(old: Variant, new: Variant) -> Variant:
    first, second = old.value, new.value
    if old.signature != new.signature:
        return new
    if isinstance(first, Variant) and isinstance(second, Variant):
        return Variant(new.signature, _join(first, second))
    return Variant(new.signature, first | second) if isinstance(first, dict) else new


def _only(cache: Variant, refs: set[str]) -> Variant:
    value: Any = cache.value
    if isinstance(value, Variant):
        return Variant(cache.signature, _only(value, refs))
    if not isinstance(value, dict):
        return cache
    return Variant(cache.signature, {name: about for name, about in value.items() if name in refs})


def _same(old: bytes, new: bytes) -> bool:
    """Whether they differ in nothing but when they were made."""
    if old == new:
        return True
    one, other = Summary.decode(old), Summary.decode(new)
    return one.entries == other.entries and _timeless(one.metadata) == _timeless(other.metadata)


def _timeless(metadata: Metadata) -> Metadata:
    return {name: value for name, value in metadata.items() if name != MODIFIED}


def _big(value: int) -> int:
    """ostree stores this number byte-swapped inside the little-endian container."""
    return int.from_bytes(value.to_bytes(8, "little"), "big")
