"""How long encoding again takes on a device."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_delta_work"
down_revision = "0008_oci_deltas"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delta", sa.Column("work", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("delta", "work")
