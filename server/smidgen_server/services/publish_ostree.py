"""Publishing commits that the repository has: surface first, then all refs and the summary in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from smidgen_deltas.ostree.objects import Commit, ObjectType
from smidgen_deltas.ostree.refs import check_ref
from smidgen_server.index import ostree, repos
from smidgen_server.services import ostree_summary
from smidgen_server.services.commit_image_queue import commits_published
from smidgen_server.services.refs import RefName, switch
from smidgen_server.services.surface_ostree import build_revision
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.publish")
TASK = "ostree-refs"


def lane(repo: str) -> str:
    """One repository is changed by one task at a time."""
    return f"ostree/{repo}"


def submit_ref(services: Services, repo: str, ref: str, commit: bytes) -> int:
    """Queue the setting of a ref; returns the task. Raises FormatError for a bad name."""
    check_ref(ref)
    return services.tasks.submit(TASK, lane(repo), {"repo": repo, "refs": {ref: commit.hex()}})


def run_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of TASK: {"repo", "refs": {ref: commit}}."""
    repo_id = ensure_repo(services, payload["repo"])
    targets = {ref: bytes.fromhex(commit) for ref, commit in payload["refs"].items()}
    publish_refs(services, payload["repo"], repo_id, targets, progress)


def ensure_repo(services: Services, repo: str) -> int:
    with services.index.session() as session:
        return repos.ensure_repo(session, "ostree", repo, public=services.settings.auth.default_public)


def publish_refs(
    services: Services,
    repo: str,
    repo_id: int,
    targets: Mapping[str, bytes],
    progress: Progress,
    *,
    source: ostree_summary.SourceSummary | None = None,
) -> None:
    """Set refs to commits of the repository.

    Args:
        source: the summary of the repository that the refs come from, if it has one.
    Raises:
        ObjectMissing: a commit is not complete; no ref has changed then.
    """
    started = time.monotonic()
    revisions = {ref: build_revision(services, repo_id, commit, progress) for ref, commit in targets.items()}
    with services.index.session() as session:
        versions = {
            ref: switch(services, session, RefName("ostree", repo, ref), repo_id, number)
            for ref, number in revisions.items()
        }
        ostree_summary.refresh(services, session, repo_id, source=source)
        bodies = ostree.visible_bodies(session, repo_id, [(ObjectType.COMMIT, one) for one in set(targets.values())])
    commits_published(services, repo, targets)
    _warn_of_bindings(repo, targets, {checksum: Commit.decode(body) for (_, checksum), body in bodies.items()})
    seconds = time.monotonic() - started
    services.metrics.publish_seconds.labels("ostree").observe(seconds)
    for ref, commit in targets.items():
        services.metrics.published.labels("ostree").inc()
        log.info(
            "published",
            kind="ostree",
            repo=repo,
            ref=ref,
            commit=commit.hex(),
            version=versions[ref],
            seconds=round(seconds, 3),
        )


def _warn_of_bindings(repo: str, targets: Mapping[str, bytes], commits: Mapping[bytes, Commit]) -> None:
    """Stock clients refuse a commit under a ref that it does not name (our own go by the signed ref document)."""
    for ref, checksum in targets.items():
        bound = commits[checksum].metadata.get("ostree.ref-binding")
        if bound is not None and ref not in bound.value:
            log.warning("commit is bound to other refs", repo=repo, ref=ref, bound=list(bound.value)[:10])
