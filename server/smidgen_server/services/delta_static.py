"""Deltas in the format of stock ostree. See delta_formats.Format."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_server.index import ostree, repos
from smidgen_server.services.delta_formats import Facts, Work

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind


def build(work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
    """A superblock and its parts, under the names that they have below the repository.

    Signatures that the commit has now go into the superblock: clients that verify commits look for them there.
    """
    from smidgen_deltas.ostree.static.make import make_delta  # the engine is large, and the server needs none of it
    from smidgen_server.services.revision_objects import RevisionObjects

    target = work.target
    source = work.sources[0].digest.raw if work.sources else None
    reader = RevisionObjects(work.index, work.blobs, (*work.sources, target))
    with work.index.read() as session:
        commitmeta = ostree.detached(session, target.repo_id, target.digest.raw)
    made = make_delta(reader, source, target.digest.raw, work.executor, commitmeta)
    with contextlib.closing(made):
        name = made.superblock.name
        for number, part in enumerate(made.parts):
            part.file.seek(0)
            shutil.copyfileobj(part.file, create(name.part(number)))
        create(name.superblock).write(made.superblock_file())
        return Facts(raw_size=sum(part.usize for part in made.superblock.parts))


def changed(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:  # noqa: ARG001 - of all formats
    """Bring the summary up to date: it lists the deltas. Their indexes are made when they are asked for."""
    from smidgen_server.services import ostree_summary

    repo_id = repos.find_repo(session, "ostree", repo) if kind == "ostree" else None
    if repo_id is not None:
        ostree_summary.refresh(services, session, repo_id)
