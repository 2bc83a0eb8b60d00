"""Blobs as repositories show them: look up, store, mount, remove.

Order when a blob is stored: claim, bytes, link. The claim makes the garbage collector leave a row of that digest alone
from then on, so it cannot remove bytes that an earlier push left and this one is about to rely on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_server.index import oci
from smidgen_server.index.repos import ensure_repo
from smidgen_server.services.auth import Principal
from smidgen_server.services.container import Services
from smidgen_server.services.oci_names import check_name
from smidgen_server.services.oci_write import now, writing

TOUCH_SECONDS: Final = 3600  # how old a mark may be before a pusher's look-up renews it; far below any grace period
MOUNT_CANDIDATES: Final = 100  # repositories looked at when a mount names no source


def find(services: Services, name: str, digest: Digest) -> oci.LinkedBlob:
    """Raises BlobUnknown."""
    with services.index.read() as session:
        found = oci.find_blob(session, name, str(digest))
    if found is None:
        raise BlobUnknown("this repository has no such blob", repo=name, digest=str(digest))
    return found


def touch(services: Services, found: oci.LinkedBlob) -> None:
    """Note that a pusher has found the blob and will not send it; at most one write per TOUCH_SECONDS."""
    if found.touched < now() - TOUCH_SECONDS:
        writing(services.index, lambda session: oci.link_blob(session, found.repo_id, found.blob_id, now()))


def claim(services: Services, digest: Digest) -> None:
    """Make the garbage collector spare what the index knows of this digest. Call before the bytes are stored."""
    with services.index.session() as session:
        oci.claim_blob(session, str(digest), now())


def show(services: Services, name: str, digest: Digest, size: int) -> None:
    """Link a blob that is in the store into the repository, which is made if need be."""
    public = services.settings.auth.default_public

    def work(session: Session) -> None:
        repo_id = ensure_repo(session, oci.KIND, name, public=public)
        oci.link_blob(session, repo_id, oci.ensure_blob(session, str(digest), size, now()), now())

    writing(services.index, work)


def remove(services: Services, name: str, digest: Digest) -> None:
    """Stop showing the blob in this repository, at once. Raises BlobUnknown."""
    found = find(services, name, digest)
    with services.index.session() as session:
        oci.unlink_blob(session, found)


def mount(services: Services, principal: Principal, name: str, digest: Digest, source: str | None) -> bool:
    """Show a blob of another repository in this one, if the asker may read it there.

    Args:
        source: the other repository; None: any that the asker may read.
    Returns:
        False: there is none, or the asker may not know that there is one.
    """
    return any(_mount_from(services, name, digest, one) for one in _sources(services, principal, name, digest, source))


def _sources(services: Services, principal: Principal, name: str, digest: Digest, source: str | None) -> Iterator[str]:
    yield name
    if source is not None:
        names = [check_name(source)]
    else:
        with services.index.read() as session:
            names = oci.repos_showing(session, str(digest), MOUNT_CANDIDATES)
    yield from (one for one in names if services.auth.allowed(principal, oci.KIND, one, "pull"))


def _mount_from(services: Services, name: str, digest: Digest, source: str) -> bool:
    public = services.settings.auth.default_public

    def work(session: Session) -> bool:
        found = oci.find_blob(session, source, str(digest))
        if found is None:
            return False
        oci.link_blob(session, ensure_repo(session, oci.KIND, name, public=public), found.blob_id, now())
        return True

    return writing(services.index, work)
