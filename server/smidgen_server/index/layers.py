"""Rows of layers: how the tar of a pushed blob is made of contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index.base import insert_ignore, insert_new
from smidgen_server.index.surface import Part
from smidgen_server.index.tables.core import blob, content
from smidgen_server.index.tables.surface import layer, layer_content


@dataclass(frozen=True, slots=True)
class SplitLayer:
    """A layer as contents: `recipe` (stored compressed) names them by position in `layer_contents`.

    examined: whether it was tried to find out how the stored form is made from the tar; `recompress` is how, None when
    it cannot be.
    """

    id: int
    diff_id: Digest
    tar_size: int
    recipe: Part
    examined: bool
    recompress: Digest | None


@dataclass(frozen=True, slots=True)
class OpaqueLayer:
    """A layer that is only to be had whole, and why."""

    id: int
    reason: str


def find_layer(session: Session, digest: Digest) -> SplitLayer | OpaqueLayer | None:
    recipe, again = blob.alias("recipe"), blob.alias("again")
    query = (
        select(
            layer,
            recipe.c.digest.label("recipe_digest"),
            recipe.c.size.label("recipe_size"),
            again.c.digest.label("again_digest"),
        )
        .outerjoin(recipe, recipe.c.id == layer.c.recipe_blob_id)
        .outerjoin(again, again.c.id == layer.c.recompress_blob_id)
        .where(layer.c.digest == str(digest))
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    if row.diff_id is None:
        return OpaqueLayer(row.id, row.reason or "")
    part = Part(row.recipe_blob_id, Digest.parse(row.recipe_digest), row.recipe_size, row.recipe_raw_size)
    recompress = Digest.parse(row.again_digest) if row.again_digest else None
    return SplitLayer(row.id, Digest.parse(row.diff_id), row.tar_size, part, row.examined, recompress)


def add_opaque(session: Session, digest: Digest, reason: str) -> None:
    insert_ignore(session, layer, [{"digest": str(digest), "examined": True, "reason": reason}])


def add_split(
    session: Session,
    digest: Digest,
    diff_id: Digest,
    tar_size: int,
    recipe: Part,
    content_ids: Sequence[int],
) -> None:
    """Note how a layer is made; the first to do so wins."""
    values = {
        "digest": str(digest),
        "diff_id": str(diff_id),
        "tar_size": tar_size,
        "recipe_blob_id": recipe.blob_id,
        "recipe_raw_size": recipe.raw_size,
        "examined": False,
    }
    number = insert_new(session, layer, values)
    if number is None:
        return
    rows = [{"layer_id": number, "position": at, "content_id": one} for at, one in enumerate(content_ids)]
    insert_ignore(session, layer_content, rows)


def set_recompression(session: Session, number: int, blob_id: int | None) -> None:
    """Note what came of examining a layer."""
    session.execute(update(layer).where(layer.c.id == number).values(examined=True, recompress_blob_id=blob_id))


def layer_contents(session: Session, number: int) -> list[tuple[int, bytes, int]]:
    """(content id, sha256, size) by position."""
    query = (
        select(content.c.id, content.c.sha256, content.c.size)
        .join(layer_content, layer_content.c.content_id == content.c.id)
        .where(layer_content.c.layer_id == number)
        .order_by(layer_content.c.position)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]
