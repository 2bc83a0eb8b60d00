"""Who may read what of the update surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_server.index import surface
from smidgen_server.services.auth import Principal
from smidgen_server.services.refs import RefName, RefUnknown

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

SUFFIX: Final = ".json"


def check_blob(services: Services, principal: Principal, digest: Digest) -> bool:
    """Whether anyone may read the blob; False when only the asker (and others with a right to it) may.

    Raises:
        BlobUnknown: no revision of any repository lists it.
        Unauthorized, Denied: one does, but not for the asker.
    """
    with services.index.read() as session:
        readers = surface.readers(session, digest)
    if not readers:
        raise BlobUnknown("no such blob", digest=str(digest))
    if readers[0][2]:
        return True
    kinds = [(cast(Literal["ostree", "oci"], kind), name) for kind, name, _ in readers]
    if not any(services.auth.allowed(principal, kind, name, "pull") for kind, name in kinds):
        services.auth.require(principal, *kinds[0], "pull")
    return False


def parse_ref_path(kind: str, path: str) -> RefName:
    """`ostree`, `<repo>/<ref>.json` or `oci`, `<name>:<tag>.json` -> its name. Raises RefUnknown."""
    if path.endswith(SUFFIX) and kind in ("ostree", "oci"):
        separator = "/" if kind == "ostree" else ":"
        stem = path.removesuffix(SUFFIX)
        repo, _, ref = stem.partition(separator) if kind == "ostree" else stem.rpartition(separator)
        if repo and ref:
            return RefName("ostree" if kind == "ostree" else "oci", repo, ref)
    raise RefUnknown("no such ref", path=f"{kind}/{path}"[:600])


def parse_delta_path(kind: str, path: str) -> tuple[RefName, Digest]:
    """`<ref as above>/<sha256 hex>.json` -> ref, and revision to start from. Raises RefUnknown, DigestInvalid."""
    ref, _, source = path.removesuffix(SUFFIX).rpartition("/")
    return parse_ref_path(kind, f"{ref}{SUFFIX}"), Digest.parse(f"sha256:{source}")
