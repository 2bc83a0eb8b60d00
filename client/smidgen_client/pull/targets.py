"""Which store a pull writes into."""

from __future__ import annotations

from smidgen_client.pull.request import PullRequest
from smidgen_client.targets.base import Target
from smidgen_client.targets.oci import OciTarget
from smidgen_client.targets.ostree import OstreeTarget
from smidgen_client.targets.tree import TreeTarget
from smidgen_deltas.errors import UsageError


def open_target(request: PullRequest) -> Target:
    """The store that the request names. Raises UsageError for options that it does not have."""
    address = request.target
    if address.kind == "ostree":
        return OstreeTarget(address.path, request.mode, request.remote)
    if request.mode or request.remote:
        raise UsageError("--mode and --remote are for ostree repositories", target=str(address))
    if address.kind == "oci":
        return OciTarget(address.path, address.tag, request.layers)
    return TreeTarget(address.path)
