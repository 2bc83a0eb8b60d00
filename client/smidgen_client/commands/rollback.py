"""`smidgen rollback STORE`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from smidgen_client.commands.options import STORE, emit, json_option, state_option, wait_option
from smidgen_client.names import Address
from smidgen_client.settings import read_environment
from smidgen_client.state.lock import exclusive
from smidgen_client.state.state import open_state
from smidgen_client.stores.choose import before, named, open_store


@click.command()
@click.argument("store", type=STORE)
@click.option("--to", "revision", help="Go to this revision instead of the one before.")
@wait_option
@state_option
@json_option
def rollback(*, store: Address, revision: str | None, wait: bool, state: Path | None, as_json: bool) -> None:
    """Make the version before the current one again; nothing is fetched."""
    with open_state(read_environment(state=state).state) as opened:
        found = open_store(store, opened.stores)
        with exclusive(found.lock, wait=wait):
            history = opened.stores.history(str(store))
            target = named(history, revision) if revision else before(history, found.current())
            found.rollback(target)
            opened.stores.record(replace(target, installed=int(time.time())))
    value = {"event": "result", "store": str(store), "revision": target.revision, "stored": target.stored}
    emit(value, as_json=as_json, text=f"{store} is back at {target.revision}")
