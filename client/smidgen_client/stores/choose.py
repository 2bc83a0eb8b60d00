"""Opening a store by its address."""

from __future__ import annotations

from smidgen_client.names import Address, RefName
from smidgen_client.state.stores import Install, Stores
from smidgen_client.stores.base import Store
from smidgen_client.stores.oci import OciStore
from smidgen_client.stores.ostree import OstreeStore
from smidgen_client.stores.tree import TreeStore
from smidgen_deltas.errors import NotFound


def open_store(address: Address, stores: Stores) -> Store:
    """The store at an address, with what the state knows of it. Raises NotFound when there is nothing."""
    if not address.path.is_dir():
        raise NotFound("there is no store", store=str(address))
    if address.kind == "ostree":
        history = stores.history(str(address))
        return OstreeStore(address.path, RefName.parse(history[0].ref).ref if history else None)
    if address.kind == "oci":
        return OciStore(address.path, address.tag)
    return TreeStore(address.path)


def before(history: list[Install], current: str | None) -> Install:
    """What a rollback goes to: the newest install that is not the current revision. Raises NotFound."""
    at = next((number for number, one in enumerate(history) if one.stored == current), -1)
    for one in history[at + 1 :]:
        if one.stored != current:
            return one
    raise NotFound("there is no version before this one")


def named(history: list[Install], revision: str) -> Install:
    """The newest install of a revision, named by its digest or the store's name for it. Raises NotFound."""
    for one in history:
        if same_revision(one, revision):
            return one
    raise NotFound("no pull installed that revision here", revision=revision[:100])


def same_revision(install: Install, text: str) -> bool:
    """Whether `text` names what was installed: with or without `sha256:`."""
    bare = text.removeprefix("sha256:")
    return bare in (install.revision.removeprefix("sha256:"), install.stored.removeprefix("sha256:"))
