"""Publishing images: a tag was pushed, so its surface is built and its ref set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_server.index import oci, repos
from smidgen_server.services import refs
from smidgen_server.services.commit_image_queue import image_published
from smidgen_server.services.refs import RefName
from smidgen_server.services.surface_oci import build_revision
from smidgen_server.services.tasks import Progress

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.publish")
TASK: Final = "oci-surface"


def submit_tag(services: Services, name: str, tag: str) -> int:
    """Queue the building of a tag's surface; returns the task."""
    return services.tasks.submit(TASK, f"oci/{name}", {"repo": name, "tag": tag})


def run_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of TASK: {"repo", "tag"}. A tag that was deleted meanwhile has nothing to build."""
    with services.index.read() as session:
        found = oci.manifest_by_tag(session, payload["repo"], payload["tag"])
    if found is not None:
        publish_tag(services, payload["repo"], payload["tag"], Digest.parse(found.digest), progress)


def publish_tag(services: Services, name: str, tag: str, digest: Digest, progress: Progress) -> None:
    """Build the surface of a manifest that the repository has and point the tag's ref at it.

    Raises NotFound when repository or manifest are gone.
    """
    started = time.monotonic()
    with services.index.read() as session:
        repo_id = repos.find_repo(session, oci.KIND, name)
    if repo_id is None:
        raise NotFound("no such repository", repo=name)
    number = build_revision(services, name, repo_id, digest, progress)
    with services.index.session() as session:
        if (current := oci.manifest_by_tag(session, name, tag)) is None or current.digest != str(digest):
            return  # pushed again or deleted: another task has the last word
        version = refs.switch(services, session, RefName("oci", name, tag), repo_id, number)
    image_published(services, name, tag)
    seconds = time.monotonic() - started
    services.metrics.published.labels("oci").inc()
    services.metrics.publish_seconds.labels("oci").observe(seconds)
    log.info(
        "published", kind="oci", repo=name, ref=tag, digest=str(digest), version=version, seconds=round(seconds, 3)
    )


def forget_tag(services: Services, name: str, tag: str) -> None:
    """The tag was deleted: so is its ref, at once."""
    with services.index.session() as session:
        repo_id = repos.find_repo(session, oci.KIND, name)
        if repo_id is not None and refs.exists(session, repo_id, tag):
            refs.remove(session, repo_id, tag)
