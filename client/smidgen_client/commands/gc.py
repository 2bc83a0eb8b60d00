"""`smidgen gc [STORE...]`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from smidgen_client.commands.options import NOTHING, STORE, emit, json_option, state_option, wait_option
from smidgen_client.names import Address
from smidgen_client.progress import human
from smidgen_client.settings import read_environment
from smidgen_client.state.lock import exclusive
from smidgen_client.state.state import State, open_state
from smidgen_client.state.stores import Install
from smidgen_client.stores.base import Removed
from smidgen_client.stores.choose import named, open_store, same_revision
from smidgen_deltas.errors import NotFound, UsageError

KEPT = 2


@click.command()
@click.argument("stores", nargs=-1, type=STORE)
@click.option("--keep", type=click.IntRange(1), default=KEPT, show_default=True, help="Versions to keep of each ref.")
@click.option("--pin", "pins", multiple=True, help="Never remove this revision of the named store.")
@click.option("--unpin", "unpins", multiple=True, help="Let go of a pinned revision of the named store.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and stop.")
@wait_option
@state_option
@json_option
def gc(
    *,
    stores: tuple[Address, ...],
    keep: int,
    pins: tuple[str, ...],
    unpins: tuple[str, ...],
    dry_run: bool,
    wait: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Remove what no kept version of the stores (by default all known ones) needs."""
    if (pins or unpins) and len(stores) != 1:
        raise UsageError("name the one store that --pin and --unpin are about")
    done: dict[str, Removed] = {}
    with open_state(read_environment(state=state).state) as opened:
        for revision in pins:
            found = named(opened.stores.history(str(stores[0])), revision)
            opened.stores.pin(str(stores[0]), found.revision, int(time.time()))
        for revision in unpins:
            _unpin(opened, str(stores[0]), revision)
        known = [Address.parse(one) for one in dict.fromkeys(one.address for one in opened.stores.current())]
        for address in stores or known:
            done[str(address)] = _clean(opened, address, keep, dry_run=dry_run, wait=wait)
    value = {
        "event": "result",
        "dry_run": dry_run,
        "stores": [{"store": name, **asdict(one)} for name, one in done.items()],
    }
    verb = "would be removed" if dry_run else "removed"
    text = "\n".join(f"{name}: {one.objects} files, {human(one.bytes)} {verb}" for name, one in done.items())
    emit(value, as_json=as_json, text=text or NOTHING)


def _unpin(state: State, address: str, revision: str) -> None:
    for store, pinned in state.stores.pins(address):
        if pinned.removeprefix("sha256:") == revision.removeprefix("sha256:"):
            state.stores.unpin(store, pinned)
            return
    raise NotFound("the revision is not pinned", revision=revision[:100])


def _clean(state: State, address: Address, keep: int, *, dry_run: bool, wait: bool) -> Removed:
    store = open_store(address, state.stores)
    with exclusive(store.lock, wait=wait):
        history = state.stores.history(str(address))
        pinned = [revision for _, revision in state.stores.pins(str(address))]
        held = kept(history, keep, pinned) | ({current} if (current := store.current()) else set())
        known = {one.stored for one in history}
        removed = store.clean(sorted(held), sorted(known), dry_run=dry_run)
        if not dry_run:
            state.stores.forget([one.id for one in history if one.stored not in held])
    return removed


def kept(history: list[Install], keep: int, pinned: list[str]) -> set[str]:
    """Names of the revisions to keep: the newest `keep` distinct ones of each ref, and what is pinned."""
    by_ref: dict[str, dict[str, None]] = {}
    for one in history:
        by_ref.setdefault(one.ref, {}).setdefault(one.stored)
    newest = {stored for revisions in by_ref.values() for stored in list(revisions)[:keep]}
    return newest | {one.stored for one in history if any(same_revision(one, pin) for pin in pinned)}
