"""Rows of packs: frames, what is in them, and in which frames a content lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.pack import BuiltFrame
from smidgen_server.index.base import insert_ignore, insert_new, select_in
from smidgen_server.index.content import usable_by
from smidgen_server.index.tables.core import blob, repo
from smidgen_server.index.tables.surface import frame, frame_member, location, pack


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame of a stored pack; members are (content id, start within the content, length)."""

    id: int
    pack_id: int
    pack: Digest
    pack_blob_id: int
    pack_size: int
    start: int
    size: int
    raw_size: int
    check: bytes
    members: tuple[tuple[int, int, int], ...]


def add_pack(
    session: Session, repo_id: int, blob_id: int, size: int, frames: Sequence[BuiltFrame], ids: Mapping[bytes, int]
) -> list[int]:
    """Rows for a pack whose blob is stored; returns the ids of its frames, in order. `ids`: sha256 -> content id.

    A pack that the repository has already gives the ids of its frames again.
    """
    where = (pack.c.repo_id == repo_id, pack.c.blob_id == blob_id)
    pack_id = insert_new(session, pack, {"repo_id": repo_id, "blob_id": blob_id, "size": size})
    if pack_id is not None:
        _add_frames(session, pack_id, frames, ids)
    query = select(frame.c.id).join(pack, pack.c.id == frame.c.pack_id).where(*where).order_by(frame.c.start)
    return [row[0] for row in session.execute(query)]


def _add_frames(session: Session, pack_id: int, frames: Sequence[BuiltFrame], ids: Mapping[bytes, int]) -> None:
    rows = [
        {
            "pack_id": pack_id,
            "start": built.offset,
            "size": built.size,
            "raw_size": built.raw_size,
            "check16": built.check,
        }
        for built in frames
    ]
    session.execute(insert(frame), rows)
    query = select(frame.c.id).where(frame.c.pack_id == pack_id).order_by(frame.c.start)
    numbers = [row[0] for row in session.execute(query)]
    members = [
        {
            "frame_id": number,
            "position": position,
            "content_id": ids[run.sha256],
            "start": run.start,
            "length": run.length,
        }
        for number, built in zip(numbers, frames, strict=True)
        for position, run in enumerate(built.runs)
    ]
    session.execute(insert(frame_member), members)


def add_locations(session: Session, repo_id: int, places: Mapping[int, Collection[int]]) -> None:
    """Note that contents (by id) lie completely in these frames of the repository's packs; first come stays."""
    query = select(location.c.content_id).where(location.c.repo_id == repo_id)
    present = {row[0] for row in select_in(session, query, location.c.content_id, places)}
    insert_ignore(
        session,
        location,
        (
            {"content_id": content_id, "repo_id": repo_id, "frame_id": number}
            for content_id, numbers in places.items()
            if content_id not in present
            for number in numbers
        ),
    )


def frames_of(session: Session, repo_id: int | None, content_ids: Collection[int]) -> dict[int, list[int]]:
    """Ids of the frames that hold each content, from one repository each: the asking one if it has the content.

    `repo_id` None is the server itself, which may read all packs. Contents without usable packs are left out.
    """
    query = select(location.c.content_id, location.c.repo_id, location.c.frame_id)
    if repo_id is not None:
        query = query.join(repo, repo.c.id == location.c.repo_id).where(usable_by(repo_id))
    found: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for content_id, owner, number in select_in(session, query, location.c.content_id, content_ids):
        found[content_id][owner].append(number)
    return {content_id: sorted(owners.get(repo_id or 0) or owners[min(owners)]) for content_id, owners in found.items()}


def frames(session: Session, numbers: Collection[int]) -> Iterator[StoredFrame]:
    """These frames with their members, in no order."""
    members: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    query = select(
        frame_member.c.frame_id,
        frame_member.c.position,
        frame_member.c.content_id,
        frame_member.c.start,
        frame_member.c.length,
    )
    for number, *member in select_in(session, query, frame_member.c.frame_id, numbers):
        members[number].append((member[0], member[1], member[2], member[3]))
    places = (
        select(
            frame.c.id,
            pack.c.id,
            blob.c.digest,
            blob.c.id,
            pack.c.size,
            frame.c.start,
            frame.c.size,
            frame.c.raw_size,
            frame.c.check16,
        )
        .join(pack, pack.c.id == frame.c.pack_id)
        .join(blob, blob.c.id == pack.c.blob_id)
    )
    for number, pack_id, digest, blob_id, pack_size, start, size, raw_size, check in select_in(
        session, places, frame.c.id, numbers
    ):
        ordered = tuple(member[1:] for member in sorted(members.pop(number)))
        yield StoredFrame(
            number, pack_id, Digest.parse(digest), blob_id, pack_size, start, size, raw_size, check, ordered
        )
