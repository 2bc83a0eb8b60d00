"""The update surface: revisions, refs, packs, layers, background tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_surface"
down_revision = "0003_ostree"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "task",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("lane", sa.String(length=768), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
    )
    op.create_index("ix_task_lane", "task", ["lane"])
    op.create_index("ix_task_state_id", "task", ["state", "id"])
    op.create_table(
        "layer",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(length=160), nullable=False),
        sa.Column("diff_id", sa.String(length=80), nullable=True),
        sa.Column("tar_size", sa.BigInteger(), nullable=True),
        sa.Column("recipe_blob_id", BIG_ID, nullable=True),
        sa.Column("recipe_raw_size", sa.BigInteger(), nullable=True),
        sa.Column("recompress_blob_id", BIG_ID, nullable=True),
        sa.Column("examined", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["recipe_blob_id"], ["blob.id"], name=op.f("fk_layer_recipe_blob_id_blob")),
        sa.ForeignKeyConstraint(["recompress_blob_id"], ["blob.id"], name=op.f("fk_layer_recompress_blob_id_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layer")),
        sa.UniqueConstraint("digest", name=op.f("uq_layer_digest")),
    )
    op.create_index("ix_layer_recipe_blob_id", "layer", ["recipe_blob_id"])
    op.create_table(
        "pack",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_pack_blob_id_blob")),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_pack_repo_id_repo"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pack")),
        sa.UniqueConstraint("blob_id", "repo_id", name=op.f("uq_pack_blob_id_repo_id")),
    )
    op.create_index("ix_pack_repo_id", "pack", ["repo_id"])
    op.create_table(
        "revision",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(length=160), nullable=False),
        sa.Column("tree_blob_id", BIG_ID, nullable=True),
        sa.Column("tree_raw_size", sa.BigInteger(), nullable=False),
        sa.Column("packs_blob_id", BIG_ID, nullable=True),
        sa.Column("packs_raw_size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.String(length=256), nullable=True),
        sa.Column("kernel", sa.String(length=256), nullable=True),
        sa.Column("initramfs", sa.String(length=512), nullable=True),
        sa.ForeignKeyConstraint(["packs_blob_id"], ["blob.id"], name=op.f("fk_revision_packs_blob_id_blob")),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_revision_repo_id_repo"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tree_blob_id"], ["blob.id"], name=op.f("fk_revision_tree_blob_id_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
        sa.UniqueConstraint("repo_id", "digest", name=op.f("uq_revision_repo_id_digest")),
    )
    op.create_table(
        "frame",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("pack_id", BIG_ID, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("raw_size", sa.BigInteger(), nullable=False),
        sa.Column("check16", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_frame_pack_id_pack"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frame")),
        sa.UniqueConstraint("pack_id", "start", name=op.f("uq_frame_pack_id_start")),
    )
    op.create_table(
        "layer_content",
        sa.Column("layer_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_layer_content_content_id_content")),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["layer.id"], name=op.f("fk_layer_content_layer_id_layer"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("layer_id", "position", name=op.f("pk_layer_content")),
    )
    op.create_index("ix_layer_content_content_id", "layer_content", ["content_id"])
    op.create_table(
        "ref",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("revision_id", BIG_ID, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.Column("signed", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_ref_repo_id_repo"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["revision_id"], ["revision.id"], name=op.f("fk_ref_revision_id_revision")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ref")),
        sa.UniqueConstraint("repo_id", "name", name=op.f("uq_ref_repo_id_name")),
    )
    op.create_index("ix_ref_revision_id", "ref", ["revision_id"])
    op.create_table(
        "revision_blob",
        sa.Column("revision_id", BIG_ID, nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_revision_blob_blob_id_blob")),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revision.id"], name=op.f("fk_revision_blob_revision_id_revision"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("revision_id", "blob_id", name=op.f("pk_revision_blob")),
    )
    op.create_index("ix_revision_blob_blob_id", "revision_blob", ["blob_id"])
    op.create_table(
        "frame_member",
        sa.Column("frame_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content_id", BIG_ID, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_frame_member_content_id_content")),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frame.id"], name=op.f("fk_frame_member_frame_id_frame"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("frame_id", "position", name=op.f("pk_frame_member")),
    )
    op.create_index("ix_frame_member_content_id", "frame_member", ["content_id"])
    op.create_table(
        "location",
        sa.Column("content_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("frame_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_location_content_id_content")),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frame.id"], name=op.f("fk_location_frame_id_frame"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_location_repo_id_repo"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("content_id", "repo_id", "frame_id", name=op.f("pk_location")),
    )
    op.create_index("ix_location_frame_id", "location", ["frame_id"])


def downgrade() -> None:
    op.drop_table("location")
    op.drop_table("frame_member")
    op.drop_table("revision_blob")
    op.drop_table("ref")
    op.drop_table("layer_content")
    op.drop_table("frame")
    op.drop_table("revision")
    op.drop_table("pack")
    op.drop_table("layer")
    op.drop_table("task")
