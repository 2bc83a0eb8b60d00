"""Tables of the update surface (migration 0004): revisions, refs, packs, layers, and the tasks that build them.

Packs belong to the repository that built them. Others reuse a pack only when that repository is public, so that a
pack never carries bytes of a private repository to readers of another one.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
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

revision = Table(
    "revision",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), nullable=False),
    Column("digest", String(160), nullable=False),  # ostree: "sha256:<commit>"; OCI: digest of the manifest
    Column("tree_blob_id", ForeignKey("blob.id")),  # NULL: known, surface not built
    Column("tree_raw_size", BigInteger, nullable=False),
    Column("packs_blob_id", ForeignKey("blob.id")),
    Column("packs_raw_size", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),  # of all files, uncompressed
    Column("created", BigInteger, nullable=False),
    Column("version", String(256)),
    Column("kernel", String(256)),  # release of the kernel; NULL: not bootable
    Column("initramfs", String(512)),  # path of its initramfs
    UniqueConstraint("repo_id", "digest"),
)

ref = Table(
    "ref",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(512), nullable=False),
    Column("revision_id", ForeignKey("revision.id")),  # NULL: deleted; the row stays so that versions never go back
    Column("version", BigInteger, nullable=False),
    Column("published", BigInteger, nullable=False),
    Column("signed", BigInteger, nullable=False),
    Column("document", LargeBinary),
    UniqueConstraint("repo_id", "name"),
)
Index("ix_ref_revision_id", ref.c.revision_id)

pack = Table(
    "pack",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("blob_id", ForeignKey("blob.id"), nullable=False),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), nullable=False),
    Column("size", BigInteger, nullable=False),
    UniqueConstraint("blob_id", "repo_id"),  # equal contents in equal order make equal packs
)
Index("ix_pack_repo_id", pack.c.repo_id)

frame = Table(
    "frame",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("pack_id", ForeignKey("pack.id", ondelete="CASCADE"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("raw_size", BigInteger, nullable=False),
    Column("check16", LargeBinary(16), nullable=False),
    UniqueConstraint("pack_id", "start"),
)

frame_member = Table(
    "frame_member",
    metadata,
    Column("frame_id", ForeignKey("frame.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content_id", ForeignKey("content.id"), nullable=False),
    Column("start", BigInteger, nullable=False),  # within the content
    Column("length", BigInteger, nullable=False),
)
Index("ix_frame_member_content_id", frame_member.c.content_id)

location = Table(
    "location",
    metadata,
    # The frames that hold a content, in packs of one repository. Rows appear only once all of the content is there.
    Column("content_id", ForeignKey("content.id"), primary_key=True, autoincrement=False),
    Column("repo_id", ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True),
    Column("frame_id", ForeignKey("frame.id", ondelete="CASCADE"), primary_key=True),
)
Index("ix_location_frame_id", location.c.frame_id)

revision_blob = Table(
    "revision_blob",
    metadata,
    # What a client that updates to the revision may fetch: tree, map, packs, blobs of the image.
    Column("revision_id", ForeignKey("revision.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", ForeignKey("blob.id"), primary_key=True),
)
Index("ix_revision_blob_blob_id", revision_blob.c.blob_id)

layer = Table(
    "layer",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("digest", String(160), nullable=False, unique=True),  # of the blob as pushed
    Column("diff_id", String(80)),  # NULL: opaque, see `reason`
    Column("tar_size", BigInteger),
    Column("recipe_blob_id", ForeignKey("blob.id")),  # zstd; contents by position in layer_content
    Column("recipe_raw_size", BigInteger),
    Column("recompress_blob_id", ForeignKey("blob.id")),  # NULL: the stored form cannot be rebuilt from the tar
    Column("examined", Boolean, nullable=False),  # whether it was tried to find out how it is compressed
    Column("reason", Text),  # why it is only to be had whole
)
Index("ix_layer_recipe_blob_id", layer.c.recipe_blob_id)

layer_content = Table(
    "layer_content",
    metadata,
    Column("layer_id", ForeignKey("layer.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content_id", ForeignKey("content.id"), nullable=False),
)
Index("ix_layer_content_content_id", layer_content.c.content_id)

task = Table(
    "task",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("lane", String(768), nullable=False),  # of one lane, one task runs at a time, oldest first
    Column("payload", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),  # queued, running, done, failed
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("unit", String(16), nullable=False),
    Column("error", Text),  # JSON {code, message, detail}
    Column("owner", String(128)),  # who runs it
    Column("beat", BigInteger, nullable=False),  # UTC seconds of the owner's last sign of life
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger),
)
Index("ix_task_state_id", task.c.state, task.c.id)
Index("ix_task_lane", task.c.lane)
