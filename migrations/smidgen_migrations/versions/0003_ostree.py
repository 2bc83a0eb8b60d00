"""The ostree side: objects, which repository shows them, deflated forms, summaries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_ostree"
down_revision = "0002_oci"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "deflated",
        sa.Column("content_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_deflated_blob_id_blob")),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_deflated_content_id_content")),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_deflated")),
    )
    op.create_index("ix_deflated_blob_id", "deflated", ["blob_id"])
    op.create_table(
        "ostree_detached",
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("checksum", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repo.id"], name=op.f("fk_ostree_detached_repo_id_repo"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repo_id", "checksum", name=op.f("pk_ostree_detached")),
    )
    op.create_table(
        "ostree_file",
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_ostree_file_blob_id_blob")),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_ostree_file_repo_id_repo"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("repo_id", "path", name=op.f("pk_ostree_file")),
    )
    op.create_index("ix_ostree_file_blob_id", "ostree_file", ["blob_id"])
    op.create_table(
        "ostree_object",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("checksum", sa.LargeBinary(length=32), nullable=False),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=True),
        sa.Column("content_id", BIG_ID, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_ostree_object_content_id_content")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ostree_object")),
        sa.UniqueConstraint("checksum", "type", name=op.f("uq_ostree_object_checksum_type")),
    )
    op.create_index("ix_ostree_object_content_id", "ostree_object", ["content_id"])
    op.create_table(
        "ostree_summary",
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=True),
        sa.Column("source_signature", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repo.id"], name=op.f("fk_ostree_summary_repo_id_repo"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repo_id", name=op.f("pk_ostree_summary")),
    )
    op.create_table(
        "ostree_visible",
        sa.Column("object_id", BIG_ID, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("staged", sa.Boolean(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["object_id"], ["ostree_object.id"], name=op.f("fk_ostree_visible_object_id_ostree_object")
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repo.id"], name=op.f("fk_ostree_visible_repo_id_repo"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("object_id", "repo_id", name=op.f("pk_ostree_visible")),
    )


def downgrade() -> None:
    op.drop_table("ostree_visible")
    op.drop_table("ostree_summary")
    op.drop_table("ostree_object")
    op.drop_table("ostree_file")
    op.drop_table("ostree_detached")
    op.drop_table("deflated")
