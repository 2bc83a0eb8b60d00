"""tar-diffs in the registry: oci-delta artifacts as referrers of what they make, and flatpak's delta index.

What is shown follows from the ready deltas and the images that the repository has: `refresh` makes it so, in the
transaction that changed either. Artifacts come as files of deltas; delta manifests and their index cover several deltas
and are put together here. An index that somebody pushed themselves is left alone. Blobs that nothing refers to any more
are garbage like all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_deltas.oci.deltas import EMPTY, INDEX_TAG, LayerDelta, flatpak_index, flatpak_manifest
from smidgen_deltas.oci.media import OCI_INDEX, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor, Manifest, parse_manifest
from smidgen_server.index import content, oci, oci_deltas, repos
from smidgen_server.services.oci_documents import describe
from smidgen_server.services.oci_write import now

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

# First parts of the names of a delta's files, then digests in hex: of the image (its manifest), of the old layer, of
# the new one (their diff_ids).
ARTIFACT: Final = "artifact"  # /<image>
FLATPAK: Final = "flatpak"  # /<image>/<old>/<new>
LAYER: Final = "layer"  # /<image>/<new>: a tar-diff that is in the artifact alone
MAX_TARGETS: Final = 1000  # in flatpak's index: clients hold it in memory, registries must take 4 MiB


def artifact_name(image: Digest) -> str:
    return f"{ARTIFACT}/{image.hex}"


def flatpak_name(image: Digest, old: Digest, new: Digest) -> str:
    return f"{FLATPAK}/{image.hex}/{old.hex}/{new.hex}"


def layer_name(image: Digest, new: Digest) -> str:
    return f"{LAYER}/{image.hex}/{new.hex}"


@dataclass(slots=True)
class _Wanted:
    """What a repository shows: digests of artifacts; delta manifests by target image."""

    artifacts: list[Digest] = field(default_factory=list)
    flatpak: dict[Digest, dict[tuple[str, str], LayerDelta]] = field(default_factory=dict)

    def add(self, name: str, blob: Digest, size: int) -> None:
        """A file of a delta; newest targets come first, of equal names the smallest."""
        kind, image, *layers = name.split("/")
        if kind == ARTIFACT:
            self.artifacts.append(blob)
        elif kind == FLATPAK:
            old, new = layers
            target = Digest("sha256", image)
            delta = LayerDelta(Digest("sha256", old), Digest("sha256", new), blob, size)
            if target in self.flatpak or len(self.flatpak) < MAX_TARGETS:
                self.flatpak.setdefault(target, {}).setdefault((old, new), delta)


def refresh(services: Services, session: Session, name: str) -> None:
    """Show what there is in the registry's repository `name`, no less and no more."""
    repo_id = repos.find_repo(session, oci.KIND, name)
    if repo_id is None:
        return
    if not oci_deltas.files(session, repo_id) and not oci_deltas.made(session, repo_id):
        return
    oci_deltas.lock(session, repo_id)
    files, made = oci_deltas.files(session, repo_id), oci_deltas.made(session, repo_id)
    images = {file: f"sha256:{file.split('/')[1]}" for file, _, _ in files}
    shown = oci_deltas.manifests(session, repo_id, [*images.values(), *(str(blob) for _, blob, _ in files)])
    wanted = _Wanted()
    for file, blob, size in files:
        if images[file] in shown:
            wanted.add(file, blob, size)
    showing = _Showing(services, session, repo_id, shown)
    for artifact in wanted.artifacts:
        showing.show_artifact(artifact)
    kept = {*map(str, wanted.artifacts), *showing.show_flatpak(wanted.flatpak)}
    for digest, number in made.items():
        if digest not in kept:
            oci.delete_manifest(session, number)


class _Showing:
    """Adds manifests of the server's own to a repository."""

    def __init__(self, services: Services, session: Session, repo_id: int, shown: dict[str, int]) -> None:
        self._blobs, self._session, self._repo_id, self._shown = services.blobs, session, repo_id, shown

    def show_artifact(self, digest: Digest) -> None:
        """An artifact that is a file of a delta."""
        if str(digest) not in self._shown:
            with self._blobs.open(digest) as blocks:
                self._show(b"".join(blocks), OCI_MANIFEST)

    def show_flatpak(self, pairs: dict[Digest, dict[tuple[str, str], LayerDelta]]) -> set[str]:
        """Delta manifests and the index of them; digests of what is shown."""
        if not pairs or oci_deltas.tag_is_pushed(self._session, self._repo_id, INDEX_TAG):
            return set()
        bodies = {image: flatpak_manifest(image, dict(sorted(pairs[image].items())).values()) for image in pairs}
        index = flatpak_index(bodies.items())
        digests = {str(Digest.of(body)) for body in (index, *bodies.values())}
        self._shown |= oci_deltas.manifests(self._session, self._repo_id, digests)
        for body in bodies.values():
            self._show(body, OCI_MANIFEST)
        oci.set_tags(self._session, self._repo_id, self._show(index, OCI_INDEX), (INDEX_TAG,), now())
        return digests

    def _show(self, body: bytes, media_type: str) -> int:
        """A manifest and the blobs it names; its row. One that is there stays as it is."""
        digest = Digest.of(body)
        found = self._shown.get(str(digest))
        if found is not None:
            return found
        document = parse_manifest(body, media_type)
        if isinstance(document, Manifest):
            self._link((document.config, *document.layers))
        new = describe(body, digest, media_type)
        number = oci.put_manifest(self._session, self._repo_id, self._store(body), new, now())
        oci_deltas.mark(self._session, number)
        self._shown[str(digest)] = number
        return number

    def _link(self, blobs: Sequence[Descriptor]) -> None:
        """Links that are there are left alone: a push that needs them may hold them, and wait for us."""
        linked = oci_deltas.linked(self._session, self._repo_id, [str(one.digest) for one in blobs])
        for one in blobs:
            if str(one.digest) not in linked:
                blob_id = self._store(EMPTY) if one.digest == Digest.of(EMPTY) else self._row(one.digest, one.size)
                oci.link_blob(self._session, self._repo_id, blob_id, now())

    def _store(self, body: bytes) -> int:
        """The row comes first: what has a young one is not collected (see `stored.record_blob`)."""
        digest = Digest.of(body)
        number = self._row(digest, len(body))
        try:
            self._blobs.stat(digest)
        except BlobUnknown:
            with self._blobs.writer() as writer:
                writer.write(body)
                writer.finish(digest)
        return number

    def _row(self, digest: Digest, size: int) -> int:
        return content.add_blob(self._session, digest, size, now=now())
