"""Tables of deltas (migrations 0005 and 0006): what refs pointed at before, and the deltas between revisions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from smidgen_server.index.base import BigId, metadata

ref_history = Table(
    "ref_history",
    metadata,
    # Every revision that a ref has pointed at, with the newest version of the ref that did.
    Column("ref_id", ForeignKey("ref.id", ondelete="CASCADE"), primary_key=True),
    Column("revision_id", ForeignKey("revision.id", ondelete="CASCADE"), primary_key=True),
    Column("version", BigInteger, nullable=False),
)
Index("ix_ref_history_revision_id", ref_history.c.revision_id)

delta = Table(
    "delta",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), nullable=False),
    Column("source_id", ForeignKey("revision.id", ondelete="CASCADE"), nullable=False),
    Column("target_id", ForeignKey("revision.id", ondelete="CASCADE"), nullable=False),
    Column("state", String(16), nullable=False),  # waiting, ready, useless, failed
    Column("attempts", Integer, nullable=False),  # builds begun
    Column("reason", Text),  # of the state, for people
    Column("blob_id", ForeignKey("blob.id")),  # only when ready
    Column("raw_size", BigInteger, nullable=False),  # bytes that it rebuilds
    Column("memory", BigInteger, nullable=False),  # bytes that a device needs
    Column("scratch", BigInteger, nullable=False, server_default="0"),  # bytes of disk that it needs meanwhile
    Column("cpu", Integer, nullable=False, server_default="0"),  # class of re-encoding, see native.delta.Cpu
    Column("header", LargeBinary(32)),  # sha256 of the stored header
    Column("features", Text, nullable=False),  # transforms, separated by blanks
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("source_id", "target_id"),
)
Index("ix_delta_repo_id", delta.c.repo_id)
Index("ix_delta_target_id", delta.c.target_id)
Index("ix_delta_blob_id", delta.c.blob_id)
