"""`smidgen status`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from smidgen_client.commands.options import NOTHING, emit, json_option, state_option, token_option
from smidgen_client.names import Address, RefName
from smidgen_client.progress import Silent
from smidgen_client.pull.document import fetch_document
from smidgen_client.settings import read_environment
from smidgen_client.state.state import State, open_state
from smidgen_client.state.stores import Install
from smidgen_client.stores.choose import open_store
from smidgen_client.transport.client import BUNDLE, Options, Transport
from smidgen_deltas.errors import SmidgenError


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """One ref in one store.

    Args:
        present: the store holds what was installed last as its current revision.
        newer: revision that the server has now, "" when it is the same or was not asked; error: why asking failed.
    """

    store: str
    ref: str
    server: str
    revision: str
    stored: str
    version: int
    installed: int
    present: bool
    newer: str = ""
    error: str = ""


@click.command()
@click.option("--check", is_flag=True, help="Ask the servers whether there is something newer.")
@token_option
@state_option
@json_option
def status(*, check: bool, token_file: Path | None, state: Path | None, as_json: bool) -> None:
    """Show what this device has, and whether there is something newer."""
    environment = read_environment(state=state, token_file=token_file)
    with open_state(environment.state) as opened:
        found = [_status(opened, one, environment.token, check=check) for one in opened.stores.current()]
        value = {
            "state": str(environment.state),
            "stores": [asdict(one) for one in found],
            "pins": [{"store": store, "revision": revision} for store, revision in opened.stores.pins()],
            "seeds": [asdict(one) for one in opened.stores.seeds()],
            "keys": [asdict(one) for one in opened.trust.listing()],
        }
    emit(value, as_json=as_json, text="\n".join(_line(one) for one in found) or NOTHING)


def _status(state: State, install: Install, token: str | None, *, check: bool) -> StoreStatus:
    try:
        present = open_store(Address.parse(install.address), state.stores).current() == install.stored
    except SmidgenError:
        present = False
    newer = error = ""
    if check and install.server != BUNDLE:
        try:
            with Transport(install.server, Options(token=token)) as transport:
                name = RefName.parse(install.ref)
                document = fetch_document(transport, state.trust, name, {}, Silent(), int(time.time()))
            newer = "" if str(document.revision) == install.revision else str(document.revision)
        except SmidgenError as reason:
            error = str(reason)
    return StoreStatus(
        store=install.address,
        ref=install.ref,
        server=install.server,
        revision=install.revision,
        stored=install.stored,
        version=install.version,
        installed=install.installed,
        present=present,
        newer=newer,
        error=error,
    )


def _line(one: StoreStatus) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.installed))
    note = "" if one.present else " [not what the store has now]"
    note += f" [newer: {one.newer}]" if one.newer else f" [{one.error}]" if one.error else ""
    return f"{one.store}: {one.ref} of {one.server}, {one.revision}, {when} UTC{note}"
