"""Deltas in the format of our own client: native/DELTA-FORMAT.md. See delta_formats.Format."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_server.index import deltas
from smidgen_server.services import refs
from smidgen_server.services.delta_formats import Facts, Work

if TYPE_CHECKING:
    from smidgen_server.services.container import Services


def build(work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
    """One file. Pieces of it are made on all threads of `work.executor`."""
    return build_for(work, create, work.settings.profile)


def build_for(work: Work, create: Callable[[str], IO[bytes]], bounds: str) -> Facts:
    """A delta for devices of a profile."""
    from smidgen_deltas.engine.make import make  # the engine is large, and the server itself needs none of it
    from smidgen_deltas.engine.profile import parse_profile
    from smidgen_deltas.engine.recipes import open_book
    from smidgen_deltas.native.delta import LEAD, decode_header, decode_lead
    from smidgen_server.services.delta_sources import open_tree

    out = create(deltas.FILE)
    old = [open_tree(work.index, work.blobs, one.id) for one in work.sources]
    new = open_tree(work.index, work.blobs, work.target.id)
    profile = parse_profile(bounds)
    with open_book(work.recipes) as book:
        effort, executor = work.settings.effort, work.executor
        report = make(old, new, out, effort, executor, work.announce, profile=profile, book=book)
    out.seek(0)
    lead = decode_lead(out.read(LEAD))
    out.seek(lead.start)
    header = decode_header(lead, out.read(lead.size))
    return Facts(
        raw_size=header.output,
        memory=header.memory,
        scratch=header.scratch,
        cpu=int(header.cpu),
        work=round(1000 * report.seconds),
        header=lead.sha256,
        features=tuple(f"{one.name}-{one.version}" for one in header.transforms),
    )


def changed(services: Services, session: Session, kind: refs.Kind, repo: str, target_id: int) -> None:
    """Sign the ref documents at the target again: they list the deltas."""
    refs.sign_again(services, session, kind, repo, target_id)
