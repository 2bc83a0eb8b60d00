"""What can be wrong with a tar. Every one names the offset in the archive where the trouble starts."""

from __future__ import annotations

from smidgen_deltas.errors import FormatError, LimitExceeded, UnsupportedFeature


class TarCorrupt(FormatError):
    """The bytes are not a tar archive, or a damaged one."""


class TarAmbiguous(TarCorrupt):
    """Well-formed for some readers, but others would see different members in it."""


class TarUnsupported(UnsupportedFeature):
    """A kind of member that has no place in a layer: multi-volume, incremental, vendor types."""


class TarLimit(LimitExceeded):
    """A name, an extension header, a map or the archive is larger than allowed."""


class UnsafePath(FormatError):
    """A path or link leads, or could lead, outside the tree. Detail names it."""
