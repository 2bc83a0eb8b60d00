"""Which deltas a published revision gets, by the policy of its ref (`services.delta_policy`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_server.index import deltas, repos, surface
from smidgen_server.index.tables.core import repo as repo_table
from smidgen_server.index.tables.surface import ref as ref_table
from smidgen_server.services import delta_formats
from smidgen_server.services.delta_policy import Policy, policy_for
from smidgen_server.settings import DeltaSettings

PLANNED: Final = 0  # priorities of builds
DEMANDED: Final = 1
ORDERED: Final = 2
MAX_SOURCES: Final = 8  # named together
_HEX: Final = re.compile(r"(sha256:)?([0-9a-f]{64})")


def queue(
    session: Session, settings: DeltaSettings, repo_id: int, ref: str, revision_id: int, version: int, *, now: int
) -> None:
    """Note what the ref points at now, and the deltas to it, in the transaction that switches the ref."""
    found = surface.find_ref(session, repo_id, ref)
    if found is None:
        return
    deltas.remember_target(session, found.id, revision_id, version)
    _plan(session, settings, found, revision_id, now=now)


def queue_all(session: Session, settings: DeltaSettings, *, now: int) -> None:
    """Note the deltas to what all refs point at: after a change of policy. Deltas that were noted before stay."""
    query = select(ref_table.c.repo_id, ref_table.c.name, ref_table.c.revision_id)
    for repo_id, name, revision_id in session.execute(query.where(ref_table.c.revision_id.is_not(None))).all():
        found = surface.find_ref(session, repo_id, name)
        if found is not None:
            _plan(session, settings, found, revision_id, now=now)


def _plan(session: Session, settings: DeltaSettings, ref: surface.Ref, target_id: int, *, now: int) -> None:
    kind, name = session.execute(
        select(repo_table.c.kind, repo_table.c.name).where(repo_table.c.id == ref.repo_id)
    ).one()
    policy = policy_for(session, settings, f"{kind}/{name}", ref.name)
    for sources in dict.fromkeys(_sources(session, policy, ref, target_id)):
        for wish in wishes(policy, kind, ref.repo_id, sources, target_id):
            deltas.want(session, wish, now=now)


def wishes(
    policy: Policy, kind: str, repo_id: int, sources: tuple[int, ...], target_id: int, *, priority: int = PLANNED
) -> Iterator[deltas.Wish]:
    """One wish for each format of the policy that there is for this kind of repository and number of sources."""
    for name in policy.formats:
        if delta_formats.fits(name, kind, len(sources)):
            yield deltas.Wish(repo_id, target_id, sources, name, priority, policy.keep_share)


def _sources(session: Session, policy: Policy, ref: surface.Ref, target_id: int) -> Iterator[tuple[int, ...]]:
    if policy.from_last:
        for source in deltas.earlier_targets(session, ref.id, but=target_id, limit=policy.from_last):
            yield (source,)
    for text in policy.from_named:
        try:
            found = named(session, ref.repo_id, text)
        except NotFound:
            continue  # not published (yet)
        if target_id not in found:
            yield found
    if policy.from_nothing:
        yield ()


def named(session: Session, repo_id: int, text: str) -> tuple[int, ...]:
    """Row ids of revisions with a surface: `WHICH` or, for a delta from several together, `WHICH + WHICH`.

    WHICH is a digest, a ref, or either in another repository: `kind/name@WHICH`. Raises NotFound.
    """
    parts = [part.strip() for part in text.split("+")]
    if len(parts) > MAX_SOURCES:
        raise NotFound("a delta has too many sources", sources=text[:200], limit=MAX_SOURCES)
    return tuple(dict.fromkeys(_one(session, repo_id, part) for part in parts))


def _one(session: Session, repo_id: int, text: str) -> int:
    place, at, which = text.rpartition("@")
    home: int | None = repo_id
    if at:
        kind, _, name = place.partition("/")
        home = repos.find_repo(session, "oci" if kind == "oci" else "ostree", name)
    found = _HEX.fullmatch(which)
    digest = Digest("sha256", found[2]) if found else None
    if digest is None and home is not None:
        digest = surface.target(session, home, which)
    revision = surface.find_revision(session, home, digest) if home is not None and digest is not None else None
    if revision is None:
        raise NotFound("no such revision", revision=text[:200])
    return revision.id
