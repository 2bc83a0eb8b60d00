"""The `smidgen` command for a zygote, with what pulls and checks import when they run."""

from __future__ import annotations

import smidgen_client.commands.checkout
import smidgen_client.commands.pull
import smidgen_client.commands.verify
import smidgen_client.pull.delta_source
import smidgen_client.pull.run
import smidgen_client.stores.oci
import smidgen_client.stores.ostree
import smidgen_client.stores.tree
import smidgen_client.targets.oci
import smidgen_client.targets.ostree
import smidgen_client.targets.tree  # noqa: F401
from smidgen_client.cli import run

__all__ = ["run"]
