"""Publishing from a local ostree repository, in this process: for `smidgen publish --data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from smidgen_deltas.ostree.objects import MAX_METADATA
from smidgen_deltas.ostree.refs import check_ref
from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import publish_ostree
from smidgen_server.services.ingest import Ingested, ingest_commit
from smidgen_server.services.ostree_source import LocalSource
from smidgen_server.services.ostree_summary import SourceSummary
from smidgen_server.services.repo_names import check_repo
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.ingest")


def publish(services: Services, repository: Repository, rev: str, repo: str, ref: str, progress: Progress) -> Ingested:
    """Take a commit with everything below it, build its surface and set the ref.

    Args:
        rev: branch, checksum, or either with `^`.
    Raises:
        NotFound: there is no such revision, or an object of it is missing.
        IntegrityError, FormatError: an object is damaged; what was verified before stays, no ref changes.
    """
    check_repo(repo)
    check_ref(ref)
    commit = repository.resolve(rev)
    repo_id = publish_ostree.ensure_repo(services, repo)
    done = ingest_commit(services, repo_id, LocalSource(repository), commit, progress)
    services.metrics.ingested.labels("local").inc(done.bytes)
    log.info("ingested", repo=repo, commit=commit.hex(), objects=done.objects, bytes=done.bytes)
    summary = read_summary(repository)
    publish_ostree.publish_refs(services, repo, repo_id, {ref: commit}, progress, source=summary)
    return done


def read_summary(repository: Repository) -> SourceSummary | None:
    """The summary that a repository has made of itself, for what flatpak and others put into it."""
    body = _read(repository, "summary")
    return SourceSummary(body, _read(repository, "summary.sig")) if body is not None else None


def _read(repository: Repository, name: str) -> bytes | None:
    path = repository.path / name
    if not path.is_file() or path.stat().st_size > MAX_METADATA:
        return None
    return path.read_bytes()
