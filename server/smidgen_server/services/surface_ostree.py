"""The surface of an ostree commit: tree document, packs, revision row."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import ContentRef, OstreeTree, encode_tree
from smidgen_deltas.ostree.commit_tree import TreeFile, commit_tree
from smidgen_deltas.ostree.objects import Commit, ObjectType
from smidgen_server.index import ostree, surface
from smidgen_server.index.ostree import StoredFile
from smidgen_server.services.ostree_closure import Closure, load_closure
from smidgen_server.services.packing import Wanted
from smidgen_server.services.surface import map_contents, pack_missing, store_document
from smidgen_server.services.tasks import Progress

VERSION_LENGTH: Final = 256

if TYPE_CHECKING:
    from smidgen_server.services.container import Services


def build_revision(services: Services, repo_id: int, commit: bytes, progress: Progress) -> int:
    """Check the closure of a commit and make its revision; returns the row id. The commit may be served from now on.

    Raises ObjectMissing; then nothing has changed.
    """
    with services.index.read() as session:
        closure = load_closure(session, repo_id, commit)
        detached = ostree.detached(session, repo_id, commit)
    contents = _contents(closure.files.values())
    pack_missing(services, repo_id, contents, progress)
    packed = map_contents(services, repo_id, contents)
    tree = store_document(services, encode_tree(_tree(closure, detached)))
    blobs = {tree.blob_id, *(packed.packs | {packed.part.blob_id} if packed else ())}
    revision = surface.NewRevision(
        digest=Digest.from_raw(commit),
        tree=tree,
        packs=packed.part if packed else None,
        files=len(contents),
        bytes=sum(one.size for one in contents),
        version=_version(closure.commit),
        boot=surface.Boot(closure.boot.version, closure.boot.initramfs) if closure.boot else None,
        blobs=frozenset(blobs),
    )
    with services.index.session() as session:
        name = (ObjectType.COMMIT, commit)
        ostree.unstage(session, repo_id, ostree.visible(session, repo_id, [name])[name])
        return surface.put_revision(session, repo_id, revision, now=int(time.time()))


def _contents(files: Iterable[StoredFile]) -> list[Wanted]:
    """Distinct non-empty contents, in the order in which the tree first needs them."""
    found: dict[int, Wanted] = {}
    for file in files:
        if file.content_id is not None and file.sha256 is not None and file.content_id not in found:
            found[file.content_id] = Wanted(file.content_id, file.sha256, file.size)
    return list(found.values())


def _tree(closure: Closure, detached: bytes | None) -> OstreeTree:
    files = [
        TreeFile(one.checksum, one.header, None if one.sha256 is None else ContentRef(one.sha256, one.size))
        for one in closure.files.values()
    ]
    return commit_tree(closure.body, detached, closure.dirtrees.values(), closure.dirmetas.values(), files)


def _version(commit: Commit) -> str | None:
    """The version string in the metadata of a commit."""
    found = commit.metadata.get("version")
    return str(found.value)[:VERSION_LENGTH] if found is not None and found.signature == "s" else None
