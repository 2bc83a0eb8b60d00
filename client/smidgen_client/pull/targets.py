"""Which store a pull writes into. Only the code of that kind of store is loaded."""

from __future__ import annotations

from smidgen_client.pull.request import PullRequest
from smidgen_client.targets.base import Target
from smidgen_deltas.errors import UsageError


def open_target(request: PullRequest) -> Target:
    """The store that the request names. Raises UsageError for options that it does not have, and for a ref of
    another kind."""
    address = request.target
    if address.kind == "ostree" and request.name.kind != "ostree":
        raise UsageError("an image cannot be pulled into an ostree repository", ref=str(request.name))
    if address.kind == "oci" and request.name.kind != "oci":
        raise UsageError("a commit cannot be pulled into an OCI layout", ref=str(request.name))
    if address.kind == "ostree":
        from smidgen_client.targets.ostree import OstreeTarget

        return OstreeTarget(address.path, request.mode, request.remote)
    if request.mode or request.remote:
        raise UsageError("--mode and --remote are for ostree repositories", target=str(address))
    if address.kind == "oci":
        from smidgen_client.targets.oci import OciTarget

        return OciTarget(address.path, address.tag, request.layers)
    from smidgen_client.targets.tree import TreeTarget

    return TreeTarget(address.path)
