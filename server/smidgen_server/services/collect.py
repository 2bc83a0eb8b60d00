"""Garbage collection of everything: revisions, ostree objects, packs, layers, contents, then blobs.

Kept are revisions that refs point at, the newest `keep_revisions` of the others in each repository, whatever these
need, and everything younger than the grace period: work that is under way. Deleting is cut into short transactions,
each of which looks again (see `index.guard`), so publishing goes on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.ostree.objects import ObjectType
from smidgen_server.index import collect, guard, surface, tasks
from smidgen_server.index.ostree import Name
from smidgen_server.services import oci_gc
from smidgen_server.services.deltas import changed, touched
from smidgen_server.services.ostree_closure import load_names
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.gc")
TASK: Final = "gc"
TASK_DAYS: Final = 30  # how long finished tasks are remembered


@dataclass(slots=True)
class Removed:
    """Rows that are gone; `blobs` and `bytes` of the blob store."""

    revisions: int = 0
    shown: int = 0
    objects: int = 0
    deflated: int = 0
    packs: int = 0
    layers: int = 0
    contents: int = 0
    blobs: int = 0
    bytes: int = 0


def submit(services: Services, *, grace: int | None, keep: int | None) -> int:
    """Queue a run; None takes the setting. Returns the task."""
    return services.tasks.submit(TASK, "gc", {"grace": grace, "keep": keep})


def run_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of TASK: {"grace", "keep"}."""
    settings = services.settings.surface
    grace = settings.grace_seconds if payload["grace"] is None else int(payload["grace"])
    keep = settings.keep_revisions if payload["keep"] is None else int(payload["keep"])
    collect_all(services, grace=grace, keep=keep, progress=progress)


def collect_all(services: Services, *, grace: int, keep: int, progress: Progress) -> Removed:
    """Remove what nothing has needed for `grace` seconds.

    Args:
        keep: newest revisions of each repository to keep although no ref points at them.
    """
    now = int(time.time())
    before = now - grace
    removed = Removed()
    links = oci_gc.collect(services, grace)  # first the registry's links, which layers hang on; its blobs at the end
    with services.index.read() as session:
        repos = collect.repositories(session)
    for done, (repo_id, kind) in enumerate(repos, 1):
        removed.revisions += _revisions(services, repo_id, keep=keep, before=before)
        if kind == "ostree":
            removed.shown += _objects(services, repo_id, before=before)
        progress(done, len(repos), "repositories")
    removed.objects = _repeat(services, collect.drop_objects)
    removed.deflated = _repeat(services, collect.drop_deflated)
    removed.packs = _repeat(services, lambda session: collect.drop_pack(session, before=before))
    removed.layers = _repeat(services, collect.drop_layers)
    removed.contents = _repeat(services, collect.drop_contents)
    blobs = oci_gc.collect(services, grace)
    removed.blobs, removed.bytes = links.blobs + blobs.blobs, links.bytes + blobs.bytes
    with services.index.session() as session:
        tasks.prune(session, before=now - TASK_DAYS * 86400)
    log.info("collected", **asdict(removed))
    return removed


def _repeat(services: Services, step: Callable[[Session], int]) -> int:
    total = 0
    while True:
        with services.index.session() as session:
            guard.exclude(session)
            done = step(session)
        if not done:
            return total
        total += done


def _revisions(services: Services, repo_id: int, *, keep: int, before: int) -> int:
    with services.index.session() as session:
        guard.exclude(session)
        old = collect.old_revisions(session, repo_id, keep=keep, before=before)
        targets = touched(session, repo_id, old)
        removed = [number for number in old if surface.delete_revision(session, number)]
        changed(services, session, targets)
        return len(removed)


def _objects(services: Services, repo_id: int, *, before: int) -> int:
    """Stop showing objects that no revision of the repository reaches."""
    with services.index.read() as session:
        needed: set[Name] = set()
        for digest in collect.commits(session, repo_id):
            commit = Digest.parse(digest).raw
            needed.add((ObjectType.COMMIT, commit))
            load_names(session, repo_id, commit, needed)
    after = total = 0
    while True:
        with services.index.session() as session:
            guard.exclude(session)
            page = collect.shown_objects(session, repo_id, after=after, before=before)
            if not page:
                return total
            after = page[-1][0]
            useless = [number for number, kind, checksum in page if (kind, checksum) not in needed]
            total += collect.hide_objects(session, repo_id, useless, before=before)
