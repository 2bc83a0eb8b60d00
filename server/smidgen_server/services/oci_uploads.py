"""Upload sessions of the registry: blobs that arrive in one or several requests."""

from __future__ import annotations

from smidgen_deltas.digest import LENGTHS, Digest, DigestInvalid
from smidgen_server.services import oci_blobs
from smidgen_server.services.container import Services


def begin(services: Services, name: str, algorithm: str = "sha256") -> str:
    """Begin a session of the repository; `algorithm` is hashed while bytes arrive. Raises DigestInvalid."""
    if algorithm not in LENGTHS:
        raise DigestInvalid("unknown digest algorithm", algorithm=algorithm[:40], known=sorted(LENGTHS))
    return services.uploads.create(algorithm, name)


def finish(services: Services, name: str, upload: str, digest: Digest) -> None:
    """Verify the session's bytes and show them as a blob of the repository; the session is over either way.

    Args:
        upload: a session of this repository; see Uploads.require_owner.
    Raises:
        DigestMismatch, UploadUnknown; Conflict: another request is writing the session.
    """
    oci_blobs.claim(services, digest)
    size = services.uploads.finish(upload, digest)
    oci_blobs.show(services, name, digest, size)
