"""Manifests and tags of a repository: look up, store, delete.

A manifest is stored only when everything it needs is shown by the same repository; a subject may be missing
(distribution-spec, "Pushing Manifests with Subject"), and so may layers that say where else they are to be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch
from smidgen_server.index import oci
from smidgen_server.index import oci_deltas as made
from smidgen_server.index.repos import ensure_repo, find_repo
from smidgen_server.services import oci_blobs, oci_deltas
from smidgen_server.services.container import Services
from smidgen_server.services.oci_documents import describe
from smidgen_server.services.oci_errors import ManifestBlobUnknown, ManifestUnknown, RepoUnknown, TooManyTags
from smidgen_server.services.oci_write import now, writing

MAX_TAGS: Final = 100  # tag parameters of one request
SHOWN: Final = 20  # missing digests named in an error


@dataclass(frozen=True, slots=True)
class Given:
    """A manifest as it was sent, with its Content-Type header."""

    body: bytes
    content_type: str | None

    @property
    def media_type(self) -> str | None:
        """The declared type without parameters, which registries should ignore; None: not declared."""
        return (self.content_type or "").partition(";")[0].strip() or None


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: the manifest's digest, the subject it refers to, the tags that point at it now."""

    digest: Digest
    subject: str | None
    tags: tuple[str, ...]


def find(services: Services, name: str, reference: Digest | str) -> oci.StoredManifest:
    """The manifest that a digest or tag stands for. Raises ManifestUnknown, RepoUnknown."""
    with services.index.read() as session:
        if isinstance(reference, Digest):
            found = oci.manifest_by_digest(session, name, str(reference))
        else:
            found = oci.manifest_by_tag(session, name, reference)
        known = found is not None or find_repo(session, oci.KIND, name) is not None
    if not known:
        raise RepoUnknown("no such repository", repo=name)
    if found is None:
        raise ManifestUnknown("this repository has no such manifest", repo=name, reference=str(reference))
    return found


def read(services: Services, found: oci.StoredManifest) -> bytes:
    """Its exact bytes, as pushed; their number was limited when they were."""
    with services.blobs.open(Digest.parse(found.digest)) as blocks:
        return b"".join(blocks)


def put(services: Services, name: str, reference: Digest | str, tags: tuple[str, ...], given: Given) -> Pushed:
    """Store a manifest and point tags at it.

    Args:
        reference: the digest that the bytes must have, or a tag.
        tags: more tags (checked), only together with a digest.
    Raises:
        FormatError: not a manifest.
        DigestMismatch, TooManyTags, ManifestBlobUnknown.
    """
    if len(tags) > MAX_TAGS:
        raise TooManyTags("too many tags", limit=MAX_TAGS, given=len(tags))
    algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
    digest = Digest.of(given.body, algorithm)
    if isinstance(reference, Digest) and reference != digest:
        raise DigestMismatch("the manifest does not match its digest", expected=str(reference), found=str(digest))
    pointing = tags if isinstance(reference, Digest) else (reference, *tags)
    new = describe(given.body, digest, given.media_type, sparse=services.settings.oci.sparse)
    _refuse_missing(services, name, new)
    _store(services, digest, given.body)
    _show(services, name, new, pointing)
    for tag in pointing:
        services.events.tag_pushed(name, tag, digest)
    return Pushed(digest, new.subject, pointing)


def delete_tag(services: Services, name: str, tag: str) -> None:
    """Remove the tag, keep the manifest. Raises ManifestUnknown, RepoUnknown."""
    with services.index.session() as session:
        repo_id = find_repo(session, oci.KIND, name)
        gone = repo_id is not None and oci.delete_tag(session, repo_id, tag)
    if repo_id is None:
        raise RepoUnknown("no such repository", repo=name)
    if not gone:
        raise ManifestUnknown("this repository has no such tag", repo=name, reference=tag)
    services.events.tag_deleted(name, tag)


def delete_manifest(services: Services, name: str, digest: Digest) -> None:
    """Remove the manifest and all its tags from this repository, at once. Raises ManifestUnknown, RepoUnknown."""
    found = find(services, name, digest)
    with services.index.session() as session:
        tags = oci.tags_of(session, found.id)
        oci.delete_manifest(session, found.id)
        oci_deltas.refresh(services, session, name)
    for tag in tags:
        services.events.tag_deleted(name, tag)


def _refuse_missing(services: Services, name: str, new: oci.NewManifest) -> None:
    """Before anything is stored; looked at again in the transaction that makes the manifest visible."""
    with services.index.read() as session:
        repo_id = find_repo(session, oci.KIND, name)
        shown = set() if repo_id is None else oci.shown_digests(session, repo_id, new.needed)
    _refuse(name, new, shown)


def _refuse(name: str, new: oci.NewManifest, shown: set[str]) -> None:
    missing = sorted(set(new.needed) - shown)
    if missing:
        raise ManifestBlobUnknown(
            "the manifest refers to what this repository does not have",
            repo=name,
            count=len(missing),
            missing=missing[:SHOWN],
        )


def _store(services: Services, digest: Digest, body: bytes) -> None:
    oci_blobs.claim(services, digest)
    with services.blobs.writer(digest.algorithm) as writer:
        writer.write(body)
        writer.finish(digest)


def _show(services: Services, name: str, new: oci.NewManifest, tags: tuple[str, ...]) -> None:
    public = services.settings.auth.default_public

    def work(session: Session) -> None:
        repo_id = ensure_repo(session, oci.KIND, name, public=public)
        oci.touch_blobs(session, repo_id, new.references, now())
        _refuse(name, new, oci.shown_digests(session, repo_id, new.needed))
        blob_id = oci.ensure_blob(session, new.digest, new.size, now())
        number = oci.put_manifest(session, repo_id, blob_id, new, now())
        made.unmark(session, number)
        oci.set_tags(session, repo_id, number, tags, now())
        oci_deltas.refresh(services, session, name)

    writing(services.index, work)
