"""Deltas in the format of our own client that ask little of devices. See delta_formats.Format.

Made after those of `delta_smidgen` that ask for more (`delta_variants`), from the same revisions, under the setting
`light_profile`; a device takes what it can afford and comes cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_server.services import delta_smidgen
from smidgen_server.services.delta_formats import Facts, Work

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind


def build(work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
    """One file."""
    return delta_smidgen.build_for(work, create, work.settings.light_profile)


def changed(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:
    """As for the others: one ref document lists all."""
    delta_smidgen.changed(services, session, kind, repo, target_id)
