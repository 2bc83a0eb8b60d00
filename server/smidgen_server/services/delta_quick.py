"""Deltas in the format of our own client for links that are quicker than encoding again. See delta_formats.Format.

Made after those of `delta_smidgen` (`delta_variants`), from the same revisions, under the setting `quick_profile`: what
is encoded again saves so many bytes a second that even a quick link is slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_server.index import deltas
from smidgen_server.services import delta_smidgen
from smidgen_server.services.delta_formats import Facts, Useless, Work
from smidgen_server.services.delta_variants import WORK

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind


def build(work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
    """One file. Raises Useless when hardly any work is spared."""
    facts = delta_smidgen.build_for(work, create, work.settings.quick_profile)
    with work.index.read() as session:
        most = deltas.work_of(session, [one.id for one in work.sources], work.target.id, deltas.SMIDGEN)
    if most is not None and most - facts.work < WORK:
        raise Useless("it would take as much encoding as the smallest delta")
    return facts


def changed(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:
    """As for the others: one ref document lists all."""
    delta_smidgen.changed(services, session, kind, repo, target_id)
