"""What the registry has to know about a manifest: what it refers to, and how a referrers listing shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, parse_manifest
from smidgen_server.index.oci import NewManifest
from smidgen_server.services.oci_errors import ManifestRefused

_MEDIA_TYPE: Final = re.compile(r"[!-~]{1,255}")  # printable ASCII, as long as RFC 6838 section 4.2 allows
_UNDECLARED: Final = frozenset({"application/octet-stream", "application/json", "text/plain"})  # what clients send then
_ELSEWHERE: Final = ("nondistributable", "foreign")  # parts of the media types of layers that are not pushed


def describe(body: bytes, digest: Digest, media_type: str | None, *, sparse: bool = False) -> NewManifest:
    """Parse a manifest.

    Args:
        media_type: as the pusher declares it; must be what the document itself says, where it does.
        sparse: an index is accepted although some of its manifests are not there.
    Raises:
        FormatError: it is not one of the known kinds of manifest, or malformed.
    """
    document = parse_manifest(body, None if media_type in _UNDECLARED else media_type)
    children = document.manifests if isinstance(document, Index) else ()
    blobs = (document.config, *document.layers) if isinstance(document, Manifest) else ()
    needed = [one for one in blobs if not _elsewhere(one)]
    return NewManifest(
        digest=str(digest),
        size=len(body),
        media_type=_checked(document.media_type),
        artifact_type=_artifact_type(document),
        subject=str(document.subject.digest) if document.subject else None,
        annotations=document.annotations,
        references=tuple(_digests((*blobs, *children))),
        needed=tuple(_digests((*needed, *(() if sparse else children)))),
    )


def _artifact_type(document: Manifest | Index) -> str | None:
    """distribution-spec, "Listing Referrers": else the config's type; none for an index without one."""
    if document.artifact_type:
        return _checked(document.artifact_type)
    return _checked(document.config.media_type) if isinstance(document, Manifest) else None


def _checked(media_type: str) -> str:
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ManifestRefused("not a media type", given=media_type[:100])
    return media_type


def _elsewhere(descriptor: Descriptor) -> bool:
    return bool(descriptor.urls) or any(part in descriptor.media_type for part in _ELSEWHERE)


def _digests(descriptors: tuple[Descriptor, ...]) -> Iterator[str]:
    return (str(one.digest) for one in descriptors)
