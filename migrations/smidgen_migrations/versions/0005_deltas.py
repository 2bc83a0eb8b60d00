"""Deltas between revisions, and what refs pointed at before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_deltas"
down_revision = "0004_surface"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ref_history",
        sa.Column("ref_id", BIG_ID, nullable=False),
        sa.Column("revision_id", BIG_ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["ref_id"], ["ref.id"], name=op.f("fk_ref_history_ref_id_ref"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revision.id"], name=op.f("fk_ref_history_revision_id_revision"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ref_id", "revision_id", name=op.f("pk_ref_history")),
    )
    op.create_index("ix_ref_history_revision_id", "ref_history", ["revision_id"])
    op.execute(
        "INSERT INTO ref_history (ref_id, revision_id, version)"
        " SELECT id, revision_id, version FROM ref WHERE revision_id IS NOT NULL"
    )
    op.create_table(
        "delta",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("source_id", BIG_ID, nullable=False),
        sa.Column("target_id", BIG_ID, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("blob_id", BIG_ID, nullable=True),
        sa.Column("raw_size", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("header", sa.LargeBinary(length=32), nullable=True),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_delta_blob_id_blob")),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_delta_repo_id_repo"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["source_id"], ["revision.id"], name=op.f("fk_delta_source_id_revision"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["revision.id"], name=op.f("fk_delta_target_id_revision"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delta")),
        sa.UniqueConstraint("source_id", "target_id", name=op.f("uq_delta_source_id_target_id")),
    )
    op.create_index("ix_delta_repo_id", "delta", ["repo_id"])
    op.create_index("ix_delta_target_id", "delta", ["target_id"])
    op.create_index("ix_delta_blob_id", "delta", ["blob_id"])


def downgrade() -> None:
    op.drop_table("delta")
    op.drop_table("ref_history")
