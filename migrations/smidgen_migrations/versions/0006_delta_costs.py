"""What applying a delta costs a device beside memory: space while it works, and the class of re-encoding."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_delta_costs"
down_revision = "0005_deltas"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("delta") as table:
        table.add_column(sa.Column("scratch", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("cpu", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("delta") as table:
        table.drop_column("cpu")
        table.drop_column("scratch")
