"""`smidgen verify [STORE...]`."""

from __future__ import annotations

from pathlib import Path

import click

from smidgen_client.commands.options import NOTHING, STORE, emit, json_option, plain, state_option
from smidgen_client.names import Address
from smidgen_client.progress import human, open_progress
from smidgen_client.settings import read_environment
from smidgen_client.state.state import open_state
from smidgen_client.stores.base import Verified
from smidgen_client.stores.choose import open_store
from smidgen_deltas.errors import IntegrityError


@click.command()
@click.argument("stores", nargs=-1, type=STORE)
@state_option
@json_option
def verify(*, stores: tuple[Address, ...], state: Path | None, as_json: bool) -> int:
    """Hash everything in the named stores (or all known ones) again."""
    environment = read_environment(state=state)
    results: dict[str, Verified] = {}
    with open_state(environment.state) as opened, open_progress(as_json=as_json, quiet=False) as progress:
        known = [Address.parse(one) for one in dict.fromkeys(one.address for one in opened.stores.current())]
        for address in stores or known:
            results[str(address)] = open_store(address, opened.stores).verify(progress)
    sound = all(one.ok for one in results.values())
    value = {
        "event": "result",
        "ok": sound,
        "stores": [{"store": name, "ok": one.ok, **plain(one)} for name, one in results.items()],
    }
    text = "\n".join(_lines(name, one) for name, one in results.items()) or NOTHING
    emit(value, as_json=as_json, text=text)
    return 0 if sound else IntegrityError.exit


def _lines(name: str, found: Verified) -> str:
    if found.ok:
        return f"{name}: {found.checked} checked ({human(found.bytes)}), all are right"
    problems = "\n".join(f"  {one.what}: {one.reason}" for one in found.problems)
    return f"{name}: {found.checked} checked, {len(found.problems)} wrong\n{problems}"
