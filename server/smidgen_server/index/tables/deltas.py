"""Tables of deltas (migrations 0005 to 0009): what refs pointed at before, deltas and their builds, policies."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
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
    Column("target_id", ForeignKey("revision.id", ondelete="CASCADE"), nullable=False),
    Column("sources", String(400), nullable=False),  # ids of revisions, joined by "+"; "": from nothing
    Column("format", String(16), nullable=False),  # see services.delta_formats
    Column("state", String(16), nullable=False),  # see index.deltas
    Column("reason", Text),  # of the state, for people
    Column("created", BigInteger, nullable=False),
    # the build
    Column("priority", Integer, nullable=False),  # higher first
    Column("keep_share", Float, nullable=False),  # at most this share of the full update
    Column("attempts", Integer, nullable=False),  # builds begun
    Column("not_before", BigInteger, nullable=False),  # UTC seconds
    Column("lease", String(128)),  # whose build it is
    Column("beat", BigInteger, nullable=False),  # UTC seconds of the last sign of life
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("finished", BigInteger),
    # what came of it; sizes in bytes
    Column("cost", BigInteger, nullable=False),  # of the full update
    Column("size", BigInteger, nullable=False),
    Column("raw_size", BigInteger, nullable=False),  # that it rebuilds
    Column("memory", BigInteger, nullable=False),  # that a device needs
    Column("scratch", BigInteger, nullable=False),  # of disk that it needs meanwhile
    Column("cpu", Integer, nullable=False),  # class of re-encoding, see native.delta.Cpu
    Column("work", BigInteger, nullable=False, server_default="0"),  # milliseconds of re-encoding, about
    Column("header", LargeBinary(32)),  # sha256 of the stored header
    Column("features", Text, nullable=False),  # transforms, separated by blanks
    Column("uses", Float, nullable=False),  # fetches, older ones counting less: see index.delta_uses
    Column("used", BigInteger, nullable=False),  # UTC seconds for which `uses` holds
    UniqueConstraint("sources", "target_id", "format"),
)
Index("ix_delta_repo_id", delta.c.repo_id)
Index("ix_delta_target_id", delta.c.target_id)
Index("ix_delta_state", delta.c.state)

delta_source = Table(
    "delta_source",
    metadata,
    Column("delta_id", ForeignKey("delta.id", ondelete="CASCADE"), primary_key=True),
    Column("revision_id", ForeignKey("revision.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, nullable=False),
)
Index("ix_delta_source_revision_id", delta_source.c.revision_id)

delta_file = Table(
    "delta_file",
    metadata,
    # The files of a ready delta. Where a format has paths of its own below its repository, these are the names.
    Column("delta_id", ForeignKey("delta.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("blob_id", ForeignKey("blob.id"), nullable=False),
)
Index("ix_delta_file_blob_id", delta_file.c.blob_id)

delta_policy = Table(
    "delta_policy",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("repos", String(300), nullable=False),  # pattern of "kind/name"
    Column("refs", String(300), nullable=False),  # pattern of refs
    Column("body", Text, nullable=False),  # JSON: settings.DeltaRule
    UniqueConstraint("repos", "refs"),
)
