"""The OCI registry: blobs and manifests shown per repository, references, tags, uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_oci"
down_revision = "0001_core"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def bytewise(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "oci_blob",
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.Column("touched", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name="fk_oci_blob_repo_id_repo", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name="fk_oci_blob_blob_id_blob"),
        sa.PrimaryKeyConstraint("repo_id", "blob_id", name="pk_oci_blob"),
    )
    op.create_index("ix_oci_blob_blob_id", "oci_blob", ["blob_id"])
    op.create_table(
        "oci_manifest",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("digest", bytewise(160), nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("artifact_type", sa.String(255)),
        sa.Column("subject", sa.String(160)),
        sa.Column("annotations", sa.Text(), nullable=False),
        sa.Column("pushed", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name="fk_oci_manifest_repo_id_repo", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name="fk_oci_manifest_blob_id_blob"),
        sa.PrimaryKeyConstraint("id", name="pk_oci_manifest"),
        sa.UniqueConstraint("repo_id", "digest", name="uq_oci_manifest_repo_id_digest"),
    )
    op.create_index("ix_oci_manifest_blob_id", "oci_manifest", ["blob_id"])
    op.create_index("ix_oci_manifest_repo_id_subject", "oci_manifest", ["repo_id", "subject"])
    _references_and_tags()


def _references_and_tags() -> None:
    op.create_table(
        "oci_reference",
        sa.Column("manifest_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(160), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["oci_manifest.id"], name="fk_oci_reference_manifest_id_oci_manifest", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", "digest", name="pk_oci_reference"),
    )
    op.create_index("ix_oci_reference_digest", "oci_reference", ["digest"])
    op.create_table(
        "oci_tag",
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("name", bytewise(128), nullable=False),
        sa.Column("manifest_id", BIG_ID, nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name="fk_oci_tag_repo_id_repo", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["oci_manifest.id"], name="fk_oci_tag_manifest_id_oci_manifest", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repo_id", "name", name="pk_oci_tag"),
    )
    op.create_index("ix_oci_tag_manifest_id", "oci_tag", ["manifest_id"])


def downgrade() -> None:
    for table in ("oci_tag", "oci_reference", "oci_manifest", "oci_blob"):
        op.drop_table(table)
