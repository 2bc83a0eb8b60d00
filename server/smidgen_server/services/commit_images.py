"""Commits as images and back, in the layout of ostree-ext and bootc, so that one publish serves both kinds of clients.

The same commit gives the same image, so a task that is begun again ends as if it had not been interrupted. Memory is
bounded as by `ostree.container`; layers and objects pass through scratch files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, parse_manifest
from smidgen_deltas.ostree.container.export import export_commit
from smidgen_deltas.ostree.container.image_reader import import_image
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_server.blobs.staging import storage_errors
from smidgen_server.index import oci, ostree, repos, surface
from smidgen_server.services import ingest_oci, ingest_ostree
from smidgen_server.services.ingest import scratch_dir
from smidgen_server.services.revision_objects import RevisionObjects
from smidgen_server.services.tasks import Progress
from smidgen_server.settings import CommitImage

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.publish")
_BLOCK: Final = 1 << 18


def export_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of EXPORT: the link. Nothing is done for one that the settings do not have any more."""
    link = CommitImage.model_validate(payload)
    if link in services.settings.ostree.images:
        export(services, link, progress)


def import_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of IMPORT: the link, as for EXPORT."""
    link = CommitImage.model_validate(payload)
    if link in services.settings.ostree.images:
        import_(services, link, progress)


def export(services: Services, link: CommitImage, progress: Progress) -> None:
    """Publish the commit that the link's ref has now as the link's image.

    Raises NotFound, FormatError, IntegrityError, StorageError; the tag is untouched then.
    """
    with services.index.read() as session:
        repo_id = repos.find_repo(session, "ostree", link.repo)
        ref = surface.find_ref(session, repo_id, link.ref) if repo_id is not None else None
        if ref is None or ref.revision_id is None:
            return
        revision = surface.get_revision(session, ref.revision_id)
        commitmeta = ostree.detached(session, revision.repo_id, revision.digest.raw)
    commit = revision.digest.raw
    source = _StoredCommit(RevisionObjects(services.index, services.blobs, (revision,)), commitmeta)
    with _scratch(services, link) as folder:
        writer = LayoutWriter.open_or_create(folder / "layout")
        made = export_commit(source, commit, writer, link.tag, link.chunks, link.architecture)
        ingest_oci.publish(services, writer.layout(), link.tag, link.image, link.tag, progress)
    log.info("commit exported", repo=link.repo, ref=link.ref, commit=commit.hex(), image=str(made.digest))


def import_(services: Services, link: CommitImage, progress: Progress) -> None:
    """Publish the commit in the link's image under the link's ref.

    Raises UnsupportedFeature for an image without a commit, ContainerInvalid, IntegrityError, StorageError; the ref is
    untouched then.
    """
    manifest = _manifest(services, link)
    if manifest is None:
        return
    with _scratch(services, link) as folder:
        writer = LayoutWriter.open_or_create(folder / "layout")
        _copy(services, link.image, manifest, writer, link.tag)
        writer_of_objects = RepositoryWriter.open_or_create(folder / "repo", "archive")
        found = import_image(Layout.open(folder / "layout"), link.tag, writer_of_objects, link.ref)
        repository = Repository.open(folder / "repo")
        ingest_ostree.publish(services, repository, link.ref, link.repo, link.ref, progress)
    log.info("image imported", repo=link.repo, ref=link.ref, commit=found.commit.hex(), image=str(manifest.digest))


class _StoredCommit:
    """A published commit as `export_commit` reads it."""

    def __init__(self, objects: RevisionObjects, commitmeta: bytes | None) -> None:
        self.metadata, self.open_file = objects.metadata, objects.open_file
        self._commitmeta = commitmeta

    def is_partial(self, commit: bytes) -> bool:  # noqa: ARG002 - a published commit is complete
        return False

    def commitmeta(self, commit: bytes) -> bytes | None:  # noqa: ARG002 - there is one commit
        return self._commitmeta


@contextmanager
def _scratch(services: Services, link: CommitImage) -> Iterator[Path]:
    """A folder of this link's, which has one task at a time; what a killed one left there is removed."""
    folder = scratch_dir(services) / f"link-{Digest.of(link.model_dump_json().encode()).hex[:16]}"
    with storage_errors():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _manifest(services: Services, link: CommitImage) -> Manifest | None:
    """What the link's tag stands for; None when it is gone. Raises NotFound for an index."""
    with services.index.read() as session:
        found = oci.manifest_by_tag(session, link.image, link.tag)
    if found is None:
        return None
    with services.blobs.open(Digest.parse(found.digest)) as blocks:
        parsed = parse_manifest(b"".join(blocks), found.media_type)
    if isinstance(parsed, Index):
        raise NotFound("an index of images is not a commit", image=link.image, tag=link.tag)
    return parsed


def _copy(services: Services, image: str, manifest: Manifest, writer: LayoutWriter, tag: str) -> None:
    """Everything of an image into a layout."""
    from smidgen_server.services import oci_blobs

    for one in (manifest.config, *manifest.layers):
        oci_blobs.find(services, image, one.digest)
        with services.blobs.open(one.digest) as blocks:
            writer.put_blob(one.digest, blocks, one.size)
    writer.put_bytes(manifest.body)
    writer.set_ref(tag, Descriptor(manifest.media_type, manifest.digest, len(manifest.body), {}))
