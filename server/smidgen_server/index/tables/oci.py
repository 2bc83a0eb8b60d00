"""Tables of the OCI registry (migrations 0002 and 0008).

Bytes are global (`blob`), visibility is per repository: a blob can be pulled from a repository if `oci_blob` links it
there, a manifest if `oci_manifest` does. Deleting removes the link at once; bytes go when nothing refers to them any
more (`services.oci_gc`). All times are UTC seconds.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, String, Table, Text, UniqueConstraint

from smidgen_server.index.base import BigId, metadata

DIGEST: Final = 160  # "sha512:" and 128 digits, with room
TAG: Final = 128  # distribution-spec, "Pulling manifests"
MEDIA_TYPE: Final = 255  # RFC 6838, section 4.2: 127 "/" 127


def bytewise(length: int) -> String:
    """A string column that sorts by bytes on both databases, as tag listings must ("ASCIIbetical")."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


oci_blob = Table(
    "oci_blob",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", ForeignKey("blob.id"), primary_key=True),
    Column("touched", BigInteger, nullable=False),  # pushed, mounted, or found by a pusher; gc spares younger ones
)
Index("ix_oci_blob_blob_id", oci_blob.c.blob_id)

oci_manifest = Table(
    "oci_manifest",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), nullable=False),
    Column("digest", bytewise(DIGEST), nullable=False),
    Column("blob_id", ForeignKey("blob.id"), nullable=False),  # its exact bytes
    Column("size", BigInteger, nullable=False),
    Column("media_type", String(MEDIA_TYPE), nullable=False),
    Column("artifact_type", String(MEDIA_TYPE)),  # as a referrer shows it; NULL: none
    Column("subject", String(DIGEST)),
    Column("annotations", Text, nullable=False),  # a JSON object; shown by the referrers listing
    Column("pushed", BigInteger, nullable=False),
    UniqueConstraint("repo_id", "digest"),
)
Index("ix_oci_manifest_blob_id", oci_manifest.c.blob_id)
Index("ix_oci_manifest_repo_id_subject", oci_manifest.c.repo_id, oci_manifest.c.subject)

oci_reference = Table(
    "oci_reference",
    metadata,
    Column("manifest_id", ForeignKey("oci_manifest.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(DIGEST), primary_key=True),  # of a config, layer or child manifest; may be absent here
)
Index("ix_oci_reference_digest", oci_reference.c.digest)

oci_tag = Table(
    "oci_tag",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("name", bytewise(TAG), primary_key=True),
    Column("manifest_id", ForeignKey("oci_manifest.id", ondelete="CASCADE"), nullable=False),
    Column("updated", BigInteger, nullable=False),
)
Index("ix_oci_tag_manifest_id", oci_tag.c.manifest_id)

oci_made = Table(
    "oci_made",
    metadata,
    # Manifests that nobody pushed: the server shows them for deltas it has, and takes them away with these.
    Column("manifest_id", ForeignKey("oci_manifest.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
)
