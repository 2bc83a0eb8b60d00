"""Tables of the ostree side (migration 0003).

An object row is what a checksum stands for, whoever has it; `ostree_visible` says which repository may show it. File
objects point at the content graph: many objects (one per combination of owner, mode and xattrs) share one content,
and `deflated` says where the raw-deflate form of a content lies, so that a `.filez` is a generated header followed by
a range of a blob.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from smidgen_server.index.base import BigId, metadata

ostree_object = Table(
    "ostree_object",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("checksum", LargeBinary(32), nullable=False),
    Column("type", SmallInteger, nullable=False),  # smidgen_deltas.ostree.objects.ObjectType
    Column("size", BigInteger, nullable=False),  # files: of the content; metadata: of the body
    Column("header", LargeBinary),  # files: FileHeader.encode()
    Column("content_id", ForeignKey("content.id")),  # files: NULL for symlinks and empty files
    Column("body", LargeBinary),  # dirtree, dirmeta, commit: the object itself
    UniqueConstraint("checksum", "type"),
)
Index("ix_ostree_object_content_id", ostree_object.c.content_id)

ostree_visible = Table(
    "ostree_visible",
    metadata,
    # Object first, and no index by repository: SQLite, which has no statistics, would walk all objects of a repository
    # rather than look the asked ones up.
    Column("object_id", ForeignKey("ostree_object.id"), primary_key=True),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("staged", Boolean, nullable=False),  # known to publishers, not served: commits whose closure is unchecked
    Column("added", BigInteger, nullable=False),  # UTC seconds; gc spares what is younger than its grace
)

deflated = Table(
    "deflated",
    metadata,
    Column("content_id", ForeignKey("content.id"), primary_key=True, autoincrement=False),
    Column("blob_id", ForeignKey("blob.id"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
)
Index("ix_deflated_blob_id", deflated.c.blob_id)

ostree_detached = Table(
    "ostree_detached",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("checksum", LargeBinary(32), primary_key=True),  # of the commit
    Column("body", LargeBinary, nullable=False),  # a{sv}
)

ostree_summary = Table(
    "ostree_summary",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary),  # a{sv} over exactly `body`
    Column("modified", BigInteger, nullable=False),  # UTC seconds
    Column("source", LargeBinary),  # the summary of the mirrored or published repository, for its metadata
    Column("source_signature", LargeBinary),
)

ostree_file = Table(
    "ostree_file",
    metadata,
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("path", String(512), primary_key=True),  # below the repository: deltas/..., delta-indexes/...
    Column("blob_id", ForeignKey("blob.id"), nullable=False),
)
Index("ix_ostree_file_blob_id", ostree_file.c.blob_id)
