"""Who does which kind of background work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smidgen_server.services.tasks import Handler

HANDLERS: Final[Mapping[str, Handler]] = {}
