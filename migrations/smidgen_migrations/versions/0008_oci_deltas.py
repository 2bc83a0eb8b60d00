"""Manifests that the server itself shows in the registry, for deltas that it has made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_oci_deltas"
down_revision = "0007_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "oci_made",
        sa.Column(
            "manifest_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.ForeignKey("oci_manifest.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
    )


def downgrade() -> None:
    op.execute("DELETE FROM oci_manifest WHERE id IN (SELECT manifest_id FROM oci_made)")
    op.drop_table("oci_made")
