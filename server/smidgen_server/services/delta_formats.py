"""The formats in which deltas are made. A format is a module that does what `Format` says, and a line in FORMATS.

Formats run in two places: `build` in the process that makes a delta (nothing else of the server is there), the rest
in the server. A module is loaded when its format is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

from sqlalchemy.orm import Session

from smidgen_deltas.errors import UsageError
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index.base import Index
from smidgen_server.index.deltas import LIGHT, QUICK, SMIDGEN
from smidgen_server.index.oci_deltas import TARDIFF
from smidgen_server.index.static_deltas import STATIC
from smidgen_server.index.surface import Revision
from smidgen_server.settings import DeltaSettings

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind


@dataclass(frozen=True, slots=True)
class Registered:
    """A format: its module, the kinds of repositories it is for, the most revisions that a delta can start from."""

    module: str
    kinds: tuple[str, ...]
    sources: int


FORMATS: Final[Mapping[str, Registered]] = {
    SMIDGEN: Registered("smidgen_server.services.delta_smidgen", ("ostree", "oci"), sources=4),
    QUICK: Registered("smidgen_server.services.delta_quick", ("ostree", "oci"), sources=4),
    LIGHT: Registered("smidgen_server.services.delta_light", ("ostree", "oci"), sources=4),
    STATIC: Registered("smidgen_server.services.delta_static", ("ostree",), sources=1),
    TARDIFF: Registered("smidgen_server.services.delta_tardiff", ("oci",), sources=1),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What a build has to work with.

    Args:
        sources: none for a delta from nothing.
        executor: for the pieces of the delta.
        announce: called with bytes done and bytes in all.
        recipes: file for what is learned of contents that were taken apart; None on a machine that keeps nothing.
    """

    index: Index
    blobs: BlobReader
    sources: tuple[Revision, ...]
    target: Revision
    settings: DeltaSettings
    executor: Executor
    announce: Callable[[int, int], None]
    recipes: Path | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a delta asks of a device: see native.refdoc.DeltaOffer. Formats that do not declare it say 0.

    cost: bytes of the full update, for clients to whom it is something else than packs.
    """

    raw_size: int
    cost: int | None = None
    memory: int = 0
    scratch: int = 0
    cpu: int = 0
    work: int = 0
    header: bytes | None = None
    features: tuple[str, ...] = ()


class FormatUnknown(UsageError):
    """No such format of deltas."""


class Useless(UsageError):
    """There is no sense in a delta between these revisions; trying again would change nothing."""


class Format(Protocol):
    """A module of this shape."""

    def build(self, work: Work, create: Callable[[str], IO[bytes]]) -> Facts:
        """Write the delta's files; `create` gives an empty one by name. They are not closed here.

        A name is the path below the repository where the format has paths of its own.
        Raises Useless, other SmidgenError.
        """

    def changed(self, services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:
        """The set of ready deltas to a revision is another one now: say so to readers, in the same transaction."""


def find(name: str) -> Format:
    """Raises FormatUnknown."""
    check((name,))
    return cast(Format, import_module(FORMATS[name].module))


def check(names: Iterable[str]) -> None:
    """Raises FormatUnknown unless all of them are formats."""
    for name in names:
        if name not in FORMATS:
            raise FormatUnknown("unknown format of deltas", format=name[:64], known=", ".join(FORMATS))


def fits(name: str, kind: str, sources: int) -> bool:
    """Whether there is such a format, for this kind of repository and this number of sources."""
    found = FORMATS.get(name)
    return found is not None and kind in found.kinds and sources <= found.sources
