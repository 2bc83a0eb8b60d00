"""All tables. Importing this package fills `smidgen_server.index.base.metadata`."""

from __future__ import annotations

from smidgen_server.index.tables import core, oci, ostree, surface

__all__ = ["core", "oci", "ostree", "surface"]
