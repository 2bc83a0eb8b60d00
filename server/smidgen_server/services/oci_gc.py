"""Garbage collection: bytes go when nothing refers to them and nobody can be about to.

Safe beside pushes, other collectors and crashes:
 * what is younger than the grace period is spared, and a push renews the age of what it finds before it relies on it
   (`oci_blobs.touch`, `claim`, `oci.touch_blobs`); the grace period must be longer than one push takes
 * a row is deleted by a statement that checks again that nothing refers to it, and foreign keys check once more
 * bytes are removed while that transaction is open: a push of the same digest waits for it, then stores them anew
 * bytes without a row (a crash between storing and linking) first get a row, and go when that is old enough
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_server.index import oci, oci_collect
from smidgen_server.index.base import CHUNK
from smidgen_server.index.oci_collect import DeadBlob
from smidgen_server.services.container import Services
from smidgen_server.services.oci_write import now


@dataclass(slots=True)
class Collected:
    """What was removed, or would be; `adopted` are blobs found in the store without a row."""

    uploads: int = 0
    links: int = 0
    blobs: int = 0
    bytes: int = 0
    adopted: int = 0


def collect(services: Services, grace_seconds: int, *, dry_run: bool = False) -> Collected:
    """Remove what nothing has needed for `grace_seconds`.

    A dry run changes nothing and cannot see the blobs that only the removal of links would free.
    """
    before = now() - grace_seconds
    done = Collected()
    if not dry_run:
        done.uploads = services.uploads.expire()
    for link in _links(services, before):
        done.links += dry_run or _remove_link(services, link, before)
    for dead in _blobs(services, before):
        if dry_run or _remove_blob(services, dead, before):
            done.blobs += 1
            done.bytes += dead.size
    for digest in _orphans(services):
        done.adopted += dry_run or _adopt(services, digest)
    return done


def _links(services: Services, before: int) -> Iterator[tuple[int, int]]:
    after = (0, 0)
    while True:
        with services.index.read() as session:
            found = oci_collect.dead_links(session, before, after)
        if not found:
            return
        yield from found
        after = found[-1]


def _blobs(services: Services, before: int) -> Iterator[DeadBlob]:
    after = 0
    while True:
        with services.index.read() as session:
            found = oci_collect.dead_blobs(session, before, after)
        if not found:
            return
        yield from found
        after = found[-1].id


def _orphans(services: Services) -> Iterator[Digest]:
    stored = services.blobs.digests()
    while chunk := list(itertools.islice(stored, CHUNK)):
        with services.index.read() as session:
            unknown = list(oci_collect.unknown_digests(session, map(str, chunk)))
        yield from map(Digest.parse, unknown)


def _remove_link(services: Services, link: tuple[int, int], before: int) -> bool:
    with services.index.session() as session:
        return oci_collect.remove_link(session, link, before)


def _remove_blob(services: Services, dead: DeadBlob, before: int) -> bool:
    try:
        with services.index.session() as session:
            if not oci_collect.remove_blob(session, dead, before):
                return False
            with suppress(BlobUnknown):
                services.blobs.delete(Digest.parse(dead.digest))
            return True
    except IntegrityError:
        return False


def _adopt(services: Services, digest: Digest) -> bool:
    try:
        size = services.blobs.stat(digest).size
    except BlobUnknown:
        return False
    with services.index.session() as session:
        oci.ensure_blob(session, str(digest), size, now())
    return True
