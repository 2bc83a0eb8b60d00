"""Deltas in the format of our own client that ask little of devices. See delta_formats.Format.

Made beside those of `delta_smidgen`, from the same revisions, under the setting `light_profile`; a device takes what it
can afford and comes cheaper. None is made where the other asks as little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_server.index import deltas
from smidgen_server.services import delta_smidgen
from smidgen_server.services.delta_formats import Facts, Useless, Work

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind


def build(work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
    """One file. Raises Useless when the delta that asks for more is there and does not."""
    from smidgen_deltas.engine.profile import parse_profile

    bounds = work.settings.light_profile
    with work.index.read() as session:
        other = deltas.memory_of(session, [one.id for one in work.sources], work.target.id, deltas.SMIDGEN)
    if other is not None and other <= parse_profile(bounds).memory:
        raise Useless("the delta for larger devices needs no more memory than this one may")
    return delta_smidgen.build_for(work, create, bounds)


def changed(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:
    """As for the others: one ref document lists both."""
    delta_smidgen.changed(services, session, kind, repo, target_id)
