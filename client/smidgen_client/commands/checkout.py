"""`smidgen checkout STORE FOLDER`."""

from __future__ import annotations

from pathlib import Path

import click

from smidgen_client.commands.options import STORE, emit, json_option, state_option
from smidgen_client.names import Address
from smidgen_client.settings import read_environment
from smidgen_client.state.state import open_state
from smidgen_client.stores.choose import open_store
from smidgen_deltas.errors import NotFound


@click.command()
@click.argument("store", type=STORE)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--rev", "revision", help="A revision or ref of the store; by default the current one.")
@state_option
@json_option
def checkout(*, store: Address, folder: Path, revision: str | None, state: Path | None, as_json: bool) -> None:
    """Write the files of a pulled revision into FOLDER, which must be new or empty."""
    with open_state(read_environment(state=state).state) as opened:
        found = open_store(store, opened.stores)
        wanted = revision or found.current()
        if wanted is None:
            raise NotFound("the store has no current revision; name one with --rev", store=str(store))
        count = found.checkout(wanted, folder)
    value = {"event": "result", "store": str(store), "revision": wanted, "folder": str(folder), "entries": count}
    emit(value, as_json=as_json, text=f"{count} entries of {wanted} are in {folder}")
