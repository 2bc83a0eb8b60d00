"""Tables that every area refers to: content, blob, repo. Made by migration 0001_core.

content   some bytes, whoever uses them: an ostree file, a tar member, a chunk; where they lie is elsewhere
blob      a blob in the blob store; whether a repository shows it is a row elsewhere, never this one
repo      a repository; `kind` is its world, `public` whether anyone may read it
Times are UTC seconds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, LargeBinary, String, Table, UniqueConstraint

from smidgen_server.index.base import BigId, metadata

content = Table(
    "content",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
)

blob = Table(
    "blob",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("digest", String(140), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
)

repo = Table(
    "repo",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("name", String(255), nullable=False),
    Column("public", Boolean, nullable=False),
    UniqueConstraint("kind", "name"),
    CheckConstraint("kind IN ('ostree', 'oci')", name="kind"),
)
