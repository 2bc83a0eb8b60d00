"""Mirroring a remote ostree repository: only missing objects are fetched, refs are switched last.

Objects stay when a run is interrupted, so the next one goes on where it ended. The remote's summary is kept with its
signature: it is served unchanged as long as it says what this server has, and what it says of a ref in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from smidgen_deltas.ostree.refs import check_ref
from smidgen_server.services import publish_ostree
from smidgen_server.services.ingest import ingest_commit
from smidgen_server.services.ostree_remote import RemoteSource
from smidgen_server.services.ostree_summary import SourceSummary, refs_of
from smidgen_server.services.remote import Remote, RemoteMissing
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.mirror")
TASK: Final = "ostree-mirror"


def submit(services: Services, repo: str, url: str, refs: Sequence[str]) -> int:
    """Queue a run; returns the task. No `refs`: all that the remote's summary lists."""
    payload = {"repo": repo, "url": url, "refs": list(refs)}
    return services.tasks.submit(TASK, publish_ostree.lane(repo), payload)


def run_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of TASK: {"repo", "url", "refs"}."""
    connections = services.settings.ostree.mirror_connections
    with Remote(payload["url"], connections=connections) as remote:
        mirror(services, payload["repo"], RemoteSource(remote, connections), payload["refs"], progress)


def mirror(services: Services, repo: str, source: RemoteSource, refs: Sequence[str], progress: Progress) -> None:
    """Bring refs of a remote here.

    Raises:
        RemoteMissing: a ref, an object or (when all refs are wanted) the summary is not there.
        UnsupportedFeature: the remote is not an archive repository.
        TransportError, IntegrityError, FormatError: it cannot be read, or gives wrong bytes again and again.
    """
    source.check_mode()
    body, signature = source.summary()
    listed = refs_of(body) if body is not None else None
    if not refs and listed is None:
        raise RemoteMissing("the remote has no summary, so its refs must be named", repo=repo)
    targets = {check_ref(ref): _commit(source, listed, ref) for ref in (refs or listed or {})}
    repo_id = publish_ostree.ensure_repo(services, repo)
    for ref, commit in targets.items():
        done = ingest_commit(services, repo_id, source, commit, progress)
        services.metrics.ingested.labels("mirror").inc(done.bytes)
        log.info("mirrored", repo=repo, ref=ref, commit=commit.hex(), objects=done.objects, bytes=done.bytes)
    kept = SourceSummary(body, signature) if body is not None else None
    publish_ostree.publish_refs(services, repo, repo_id, targets, progress, source=kept)


def _commit(source: RemoteSource, listed: Mapping[str, bytes] | None, ref: str) -> bytes:
    if listed is not None and ref in listed:
        return listed[ref]
    return source.ref(ref)
