"""All tables. Importing this package fills `smidgen_server.index.base.metadata`."""

from __future__ import annotations

from smidgen_server.index.tables import core, deltas, oci, ostree, surface

__all__ = ["core", "deltas", "oci", "ostree", "surface"]
