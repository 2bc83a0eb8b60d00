"""Listings of the registry: repositories, tags, referrers. All are paginated by the last entry seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from smidgen_deltas.digest import Digest
from smidgen_server.index import oci
from smidgen_server.index.repos import find_repo
from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services
from smidgen_server.services.oci_errors import RepoUnknown

REFERRER_BYTES: Final = 3 << 20  # of annotations in one page: an answer should stay below the 4 MiB of a manifest


@dataclass(frozen=True, slots=True)
class Listing:
    """Names of one page; `last` is where the next one begins, None if this is the last page."""

    names: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class Referrers:
    """Descriptors of one page, as JSON values; `last` as in Listing."""

    manifests: tuple[dict[str, Any], ...]
    last: str | None


def tags(services: Services, name: str, count: int | None, last: str) -> Listing:
    """Tags in byte order, after `last` ("" for the start); `count` None: as many as fit on a page.

    Raises RepoUnknown.
    """
    limit = services.settings.limits.page if count is None else min(count, services.settings.limits.page)
    with services.index.read() as session:
        repo_id = find_repo(session, oci.KIND, name)
        if repo_id is None:
            raise RepoUnknown("no such repository", repo=name)
        return _page(oci.list_tags(session, repo_id, last, limit + 1), limit)


def repositories(services: Services, principal: Principal, count: int | None, last: str) -> Listing:
    """Repositories that the asker may pull from, after `last`."""
    limit = services.settings.limits.page if count is None else min(count, services.settings.limits.page)
    names: list[str] = []
    with services.index.read() as session:
        while len(names) <= limit and (found := oci.list_repos(session, last, services.settings.limits.page)):
            names += [name for name, public in found if public or principal.may(f"{oci.KIND}/{name}", "pull")]
            last = found[-1][0]
    return _page(names[: limit + 1], limit)


def referrers(services: Services, name: str, subject: Digest, artifact_type: str | None, last: str) -> Referrers:
    """Manifests of the repository with that subject; none if there is no such repository or subject."""
    page = oci.Page(services.settings.limits.page, REFERRER_BYTES)
    with services.index.read() as session:
        found, more = oci.list_referrers(session, name, str(subject), artifact_type, last, page)
    return Referrers(tuple(_descriptor(one) for one in found), found[-1].digest if more else None)


def _descriptor(one: oci.StoredManifest) -> dict[str, Any]:
    """A descriptor of image-spec v1.1 with artifact type and annotations of the manifest it describes."""
    value: dict[str, Any] = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if one.artifact_type:
        value["artifactType"] = one.artifact_type
    if one.annotations:
        value["annotations"] = dict(one.annotations)
    return value


def _page(names: list[str], limit: int) -> Listing:
    """The first `limit` of names that were asked for with one more than that. No page follows an empty one."""
    shown = tuple(names[:limit])
    return Listing(shown, shown[-1] if len(names) > limit and shown else None)
