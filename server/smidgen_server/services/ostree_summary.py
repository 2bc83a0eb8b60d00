"""The summary of a repository: what stock clients and flatpak read to learn of its refs.

A summary that came with the refs (from a mirrored remote or a published repository) is served byte for byte, with its
signature, while it says exactly what this server has. Otherwise one is made: entries in byte order, the metadata that
the source (or the summary before) has for a commit kept, since flatpak needs its `xa.*` keys, signed by the server's
own keys where it has any.

A summary that is passed on lists no deltas of ours: it could not without another signature. Stock clients take them
nevertheless, but for `--require-static-deltas`: where a summary knows of no deltas at all, they ask for the superblock
from the commit that their ref is at, by its path.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from smidgen_deltas.ostree.deltaindex import deltas_variant
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import ObjectType
from smidgen_deltas.ostree.summary import (
    EXPIRES,
    INDEXED,
    MODE,
    MODIFIED,
    STATIC_DELTAS,
    TOMBSTONES,
    Metadata,
    Summary,
    describe,
    time_variant,
)
from smidgen_server.index import ostree, static_deltas, surface
from smidgen_server.index.tables.ostree import ostree_summary
from smidgen_server.services.summary_sign import sign_summary

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

CACHES: Final = ("xa.cache", "xa.sparse-cache")
_OWN: Final = frozenset({MODE, MODIFIED, TOMBSTONES, STATIC_DELTAS, EXPIRES, INDEXED})
_EMPTY: Final = Summary((), {})


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A summary as it was found beside the refs, and its detached signature."""

    body: bytes
    signature: bytes | None


def refs_of(body: bytes) -> dict[str, bytes]:
    """Refs and commits that a summary lists. Raises NotNormal, SummaryInvalid."""
    return _refs(Summary.decode(body))


def refresh(services: Services, session: Session, repo_id: int, *, source: SourceSummary | None = None) -> None:
    """Bring the summary up to date with the refs, in the caller's transaction.

    Args:
        source: replaces the one kept from before.
    """
    row = session.execute(select(ostree_summary).where(ostree_summary.c.repo_id == repo_id)).one_or_none()
    if source is None and row is not None and row.source is not None:
        source = SourceSummary(row.source, row.source_signature)
    targets = {name: digest.raw for name, digest in surface.refs(session, repo_id)}
    before = Summary.decode(row.body) if row is not None else _EMPTY
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
    known = Summary.decode(source.body) if source else _EMPTY
    if source is not None and _refs(known) == targets and not _lists_deltas(known):
        return source.body, source.signature
    bodies = ostree.visible_bodies(session, repo_id, [(ObjectType.COMMIT, commit) for commit in set(targets.values())])
    told = {(entry.ref, entry.commit): entry.metadata for one in (before, known) for entry in one.refs}
    entries = []
    for name, commit in targets.items():
        fresh = describe(name, commit, bodies[(ObjectType.COMMIT, commit)])
        entries.append(replace(fresh, metadata=told.get((name, commit), fresh.metadata)))
    metadata = _joined(_kept_metadata(before, targets), _kept_metadata(known, targets))
    metadata |= {
        MODE: Variant("s", "archive-z2"),
        MODIFIED: time_variant(int(time.time())),
        TOMBSTONES: Variant("b", False),
    }
    if listed := static_deltas.listed(session, repo_id):
        metadata |= {STATIC_DELTAS: deltas_variant(listed), INDEXED: Variant("b", True)}
    return Summary(tuple(entries), metadata).encode(), None


def _refs(summary: Summary) -> dict[str, bytes]:
    return {entry.ref: entry.commit for entry in summary.refs}


def _kept_metadata(summary: Summary, targets: Mapping[str, bytes]) -> dict[str, Variant]:
    """Global metadata that is still true when the refs point at `targets`: not what the server says itself, and
    of flatpak's caches, which are keyed by ref, what is about these commits."""
    same = {entry.ref for entry in summary.refs if targets.get(entry.ref) == entry.commit}
    kept = {name: value for name, value in summary.metadata.items() if name not in _OWN}
    return kept | {name: _only(kept[name], same) for name in CACHES if name in kept}


def _lists_deltas(summary: Summary) -> bool:
    """Clients insist on deltas that a summary lists, and those of the source are not here."""
    found = summary.metadata.get(STATIC_DELTAS)
    return found is not None and bool(found.value)


def _joined(old: dict[str, Variant], new: dict[str, Variant]) -> dict[str, Variant]:
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
    return one.refs == other.refs and _timeless(one.metadata) == _timeless(other.metadata)


def _timeless(metadata: Metadata) -> dict[str, Variant]:
    return {name: value for name, value in metadata.items() if name != MODIFIED}
