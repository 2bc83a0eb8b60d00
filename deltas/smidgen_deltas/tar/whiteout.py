"""Whiteouts: names in a layer that delete what lower layers have (image-spec 1.1, layer.md, "Whiteouts")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.paths import show

PREFIX: Final = b".wh."
META_PREFIX: Final = b".wh..wh."  # aufs' own files; of these only the opaque marker means something
OPAQUE: Final = b".wh..wh..opq"


class WhiteoutKind(Enum):
    """PLAIN: an ordinary entry. REMOVE: its target goes. CLEAR: all below its target goes. IGNORE: aufs' own."""

    PLAIN = 0
    REMOVE = 1
    CLEAR = 2
    IGNORE = 3


@dataclass(frozen=True, slots=True)
class Whiteout:
    """What a path in a layer asks for, and of which path."""

    kind: WhiteoutKind
    target: bytes


def understand(path: bytes) -> Whiteout:
    """Read a clean path.

    Raises:
        UnsafePath: a whiteout of nothing, of "." or "..", or something below a whiteout.
    """
    if PREFIX not in path:
        return Whiteout(WhiteoutKind.PLAIN, path)
    *above, name = path.split(b"/")
    for part in above:
        if part.startswith(META_PREFIX):
            return Whiteout(WhiteoutKind.IGNORE, path)
        if part.startswith(PREFIX):
            raise UnsafePath("path below a whiteout", path=show(path))
    parent = b"/".join(above)
    if name == OPAQUE:
        return Whiteout(WhiteoutKind.CLEAR, parent)
    if name.startswith(META_PREFIX):
        return Whiteout(WhiteoutKind.IGNORE, path)
    if not name.startswith(PREFIX):
        return Whiteout(WhiteoutKind.PLAIN, path)
    victim = name[len(PREFIX) :]
    if victim in (b"", b".", b".."):
        raise UnsafePath("whiteout without a usable name", path=show(path))
    return Whiteout(WhiteoutKind.REMOVE, b"/".join((*above, victim)))
