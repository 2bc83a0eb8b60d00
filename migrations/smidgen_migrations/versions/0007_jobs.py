"""Deltas from any number of revisions, in several formats and files; their builds as leased rows; policies.

The table is made anew and its rows are carried over: SQLite cannot change what refers to what in place, and deltas
number in the thousands at most.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007_jobs"
down_revision = "0006_delta_costs"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RESULT = ("repo_id", "target_id", "attempts", "reason", "raw_size", "memory", "scratch", "cpu", "header", "features")
ZERO = ("priority", "not_before", "beat", "done", "total", "cost")


def upgrade() -> None:
    old = _rows(
        "SELECT delta.*, blob.size AS blob_size FROM delta LEFT JOIN blob ON blob.id = delta.blob_id ORDER BY delta.id"
    )
    op.drop_table("delta")
    table = _create_delta()
    sources = _create_sources()
    files = _create_files()
    _create_policies()
    op.bulk_insert(table, [_carried(row) for row in old])
    op.bulk_insert(sources, [{"delta_id": row["id"], "revision_id": row["source_id"], "position": 0} for row in old])
    op.bulk_insert(
        files,
        [{"delta_id": row["id"], "name": "delta", "blob_id": row["blob_id"]} for row in old if row["blob_id"]],
    )
    if op.get_bind().dialect.name == "postgresql":  # ids go on counting
        op.execute("SELECT setval(pg_get_serial_sequence('delta', 'id'), (SELECT MAX(id) + 1 FROM delta), false)")
    op.execute("DELETE FROM task WHERE kind = 'delta' AND state IN ('queued', 'running')")


def downgrade() -> None:
    kept = _rows(
        "SELECT delta.*, delta_source.revision_id AS source_id, delta_file.blob_id AS blob_id FROM delta"
        " JOIN delta_source ON delta_source.delta_id = delta.id"
        " JOIN delta_file ON delta_file.delta_id = delta.id"
        " WHERE delta.format = 'smidgen' AND delta.state = 'ready' AND delta.sources NOT LIKE '%+%' ORDER BY delta.id"
    )
    for name in ("delta_policy", "delta_file", "delta_source", "delta"):
        op.drop_table(name)
    table = _create_before()
    names = [column.name for column in table.columns if column.name != "id"]
    op.bulk_insert(table, [{name: row[name] for name in names} for row in kept])


def _rows(query: str) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in op.get_bind().execute(sa.text(query))]


def _carried(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: row[name] for name in ("id", "created", *RESULT)} | dict.fromkeys(ZERO, 0)
    return values | {
        "sources": str(row["source_id"]),
        "format": "smidgen",
        "state": row["state"],
        "attempts": 0 if row["state"] == "waiting" else row["attempts"],
        "keep_share": 0.9,
        "size": row["blob_size"] or 0,
        "uses": 1.0,
        "used": row["created"],
    }


def _create_delta() -> sa.Table:
    table = op.create_table(
        "delta",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repo_id", BIG_ID, nullable=False),
        sa.Column("target_id", BIG_ID, nullable=False),
        sa.Column("sources", sa.String(length=400), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("keep_share", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.String(length=128), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("raw_size", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("scratch", sa.BigInteger(), nullable=False),
        sa.Column("cpu", sa.Integer(), nullable=False),
        sa.Column("header", sa.LargeBinary(length=32), nullable=True),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("uses", sa.Float(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repo_id"], ["repo.id"], name=op.f("fk_delta_repo_id_repo"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["target_id"], ["revision.id"], name=op.f("fk_delta_target_id_revision"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delta")),
        sa.UniqueConstraint("sources", "target_id", "format", name=op.f("uq_delta_sources_target_id_format")),
    )
    for column in ("repo_id", "target_id", "state"):
        op.create_index(f"ix_delta_{column}", "delta", [column])
    return table


def _create_sources() -> sa.Table:
    table = op.create_table(
        "delta_source",
        sa.Column("delta_id", BIG_ID, nullable=False),
        sa.Column("revision_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delta_id"], ["delta.id"], name=op.f("fk_delta_source_delta_id_delta"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revision.id"], name=op.f("fk_delta_source_revision_id_revision"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delta_id", "revision_id", name=op.f("pk_delta_source")),
    )
    op.create_index("ix_delta_source_revision_id", "delta_source", ["revision_id"])
    return table


def _create_files() -> sa.Table:
    table = op.create_table(
        "delta_file",
        sa.Column("delta_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("blob_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_delta_file_blob_id_blob")),
        sa.ForeignKeyConstraint(
            ["delta_id"], ["delta.id"], name=op.f("fk_delta_file_delta_id_delta"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delta_id", "name", name=op.f("pk_delta_file")),
    )
    op.create_index("ix_delta_file_blob_id", "delta_file", ["blob_id"])
    return table


def _create_policies() -> None:
    op.create_table(
        "delta_policy",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repos", sa.String(length=300), nullable=False),
        sa.Column("refs", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delta_policy")),
        sa.UniqueConstraint("repos", "refs", name=op.f("uq_delta_policy_repos_refs")),
    )


def _create_before() -> sa.Table:
    table = op.create_table(
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
        sa.Column("scratch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("cpu", sa.Integer(), nullable=False, server_default="0"),
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
    for column in ("repo_id", "target_id", "blob_id"):
        op.create_index(f"ix_delta_{column}", "delta", [column])
    return table
