"""Switching refs and signing what they point at.

The version in a ref document grows by one with every change of the target, and stays when a document is signed again
only because it grew old or other deltas are offered: `published` says when the target was set, `expires` moves. A
document is valid for LIFETIME and signed again when somebody asks for it and it is older than REFRESH (or the set of
signing keys changed), so a device that sees only expired documents knows that somebody withholds newer ones.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.refdoc import Piece, RefDocument, sign
from smidgen_server.index import deltas, repos, surface
from smidgen_server.services import delta_plan

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

Kind = Literal["ostree", "oci"]
LIFETIME: Final = 7 * 86400
REFRESH: Final = 86400


class RefUnknown(NotFound):
    """There is no such ref (or it was deleted)."""


@dataclass(frozen=True, slots=True)
class RefName:
    """kind, repository and ref: what `u/refs/<kind>/<repo>/<ref>.json` (oci: `<repo>:<ref>`) names."""

    kind: Kind
    repo: str
    ref: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.repo}{':' if self.kind == 'oci' else '/'}{self.ref}"


def switch(services: Services, session: Session, name: RefName, repo_id: int, revision_id: int) -> int:
    """Point the ref at a revision, in the caller's transaction; returns the version. The same target changes
    nothing."""
    found = surface.find_ref(session, repo_id, name.ref, lock=True)
    target = surface.get_revision(session, revision_id)
    now = int(time.time())
    if found is not None and found.revision_id == revision_id and _tree_of(found.document) == target.tree.digest:
        return found.version
    version = found.version + 1 if found else 1
    document = _signed(services, session, name, target, version, published=now, now=now)
    surface.put_ref(session, repo_id, name.ref, revision_id, version, document, now=now)
    delta_plan.queue(session, services.settings.deltas, repo_id, name.ref, revision_id, version, now=now)
    return version


def sign_again(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:
    """Sign the documents of all refs at a revision again, because what is offered for it changed."""
    now = int(time.time())
    for ref in deltas.refs_at(session, target_id):
        name = RefName(kind, repo, ref)
        target = surface.get_revision(session, target_id)
        found = surface.find_ref(session, target.repo_id, ref, lock=True)
        if found is not None and found.revision_id == target_id:
            fresh = _signed(services, session, name, target, found.version, published=found.published, now=now)
            surface.resign_ref(session, found, fresh, now=now)


def exists(session: Session, repo_id: int, name: str) -> bool:
    found = surface.find_ref(session, repo_id, name)
    return found is not None and found.revision_id is not None


def remove(session: Session, repo_id: int, name: str) -> None:
    """Delete a ref; should it come back, its versions go on. Raises RefUnknown."""
    found = surface.find_ref(session, repo_id, name, lock=True)
    if found is None or found.revision_id is None:
        raise RefUnknown("no such ref", ref=name)
    surface.put_ref(session, repo_id, name, None, found.version + 1, None, now=int(time.time()))


def document(services: Services, name: RefName) -> bytes:
    """The signed document of a ref, fresh enough to be handed out. Raises RefUnknown."""
    with services.index.read() as session:
        repo_id = repos.find_repo(session, name.kind, name.repo)
        found = surface.find_ref(session, repo_id, name.ref) if repo_id is not None else None
    if found is None or found.revision_id is None or found.document is None:
        raise RefUnknown("no such ref", ref=str(name))
    now = int(time.time())
    if now - found.signed < REFRESH and _signers_of(found.document) == set(services.keys.ids()):
        return found.document
    with services.index.session() as session:
        target = surface.get_revision(session, found.revision_id)
        fresh = _signed(services, session, name, target, found.version, published=found.published, now=now)
        surface.resign_ref(session, found, fresh, now=now)
    return fresh


def _signed(
    services: Services,
    session: Session,
    name: RefName,
    target: surface.Revision,
    version: int,
    *,
    published: int,
    now: int,
) -> bytes:
    described = RefDocument(
        kind=name.kind,
        repo=name.repo,
        ref=name.ref,
        version=version,
        published=published,
        expires=now + LIFETIME,
        revision=target.digest,
        tree=_piece(target.tree),
        packs=_piece(target.packs) if target.packs else None,
        count=target.files,
        bytes=target.bytes,
        deltas=deltas.offers(session, target.id),
    )
    return sign(described, *services.keys.signers())


def _piece(part: surface.Part) -> Piece:
    return Piece(part.digest, part.size, part.raw_size)


def _signers_of(envelope: bytes) -> set[str]:
    """Key ids in a document of our own."""
    return {entry["keyid"] for entry in json.loads(envelope)["signatures"]}


def revision_of(envelope: bytes) -> Digest:
    """The revision that a document of our own points at."""
    return Digest.parse(_payload(envelope)["revision"])


def _tree_of(envelope: bytes | None) -> Digest | None:
    """Digest of the tree in a document of our own."""
    return Digest.parse(_payload(envelope)["tree"]["digest"]) if envelope else None


def _payload(envelope: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))
