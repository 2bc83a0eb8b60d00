"""What is made beside a delta of our own format: others for links and devices that the smallest one does not suit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smidgen_deltas.engine.profile import parse_profile
from smidgen_server.index import deltas
from smidgen_server.settings import DeltaSettings

MUCH: Final = 2  # times the memory that a light delta may need; below that it would suit hardly any other device
WORK: Final = 2000  # milliseconds of one core; where encoding again takes less, no link is too quick for it


def wishes(settings: DeltaSettings, row: deltas.DeltaRow, made: deltas.Made) -> Iterator[deltas.Wish]:
    """What should follow a delta that is ready now."""
    if row.format != deltas.SMIDGEN:
        return
    if settings.quick_profile and made.work >= WORK:
        yield deltas.Wish(row.repo_id, row.target_id, row.sources, deltas.QUICK, row.priority, row.keep_share)
    if settings.light_profile and made.memory > MUCH * parse_profile(settings.light_profile).memory:
        yield deltas.Wish(row.repo_id, row.target_id, row.sources, deltas.LIGHT, row.priority, row.keep_share)
