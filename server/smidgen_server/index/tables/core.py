"""Tables that every area refers to: content, blob, repo. Made by migration 0001_core."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from smidgen_server.index.base import Base, BigId


class Content(Base):
    """Some bytes, whoever uses them: an ostree file, a tar member, a chunk. Where they lie is elsewhere."""

    __tablename__ = "content"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)


class Blob(Base):
    """A blob in the blob store. Whether a repository shows it is a row elsewhere, never this one."""

    __tablename__ = "blob"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    digest: Mapped[str] = mapped_column(String(140), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[int] = mapped_column(BigInteger, doc="UTC seconds")


class Repo(Base):
    """A repository: `kind` is its world, `public` whether anyone may read it."""

    __tablename__ = "repo"
    __table_args__ = (UniqueConstraint("kind", "name"), CheckConstraint("kind IN ('ostree', 'oci')", name="kind"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(255))
    public: Mapped[bool] = mapped_column()
