"""Alembic's environment. Run only through `smidgen_migrations.run`, which hands over an open connection."""

from __future__ import annotations

from alembic import context

import smidgen_server.index.tables  # noqa: F401  (fills the metadata)
from smidgen_server.index.base import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
