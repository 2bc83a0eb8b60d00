"""`smidgen doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from smidgen_client.commands.options import emit, json_option, state_option, token_option
from smidgen_client.doctor import examine
from smidgen_client.settings import read_environment
from smidgen_deltas.errors import SettingsError


@click.command()
@click.option("--server", help="Look at this server too.")
@token_option
@state_option
@json_option
def doctor(*, server: str | None, token_file: Path | None, state: Path | None, as_json: bool) -> int:
    """Check this machine and show what a report needs."""
    environment = read_environment(state=state, token_file=token_file)
    findings = examine(environment)
    if server:
        from smidgen_client.doctor_server import examine_server
        from smidgen_client.transport.client import Options, Transport

        with Transport(server, Options(token=environment.token)) as transport:
            findings += examine_server(transport)
    healthy = all(one.level != "bad" for one in findings)
    value = {"event": "result", "ok": healthy, "findings": [asdict(one) for one in findings]}
    emit(value, as_json=as_json, text="\n".join(f"{one.level:5} {one.name}: {one.text}" for one in findings))
    return 0 if healthy else SettingsError.exit
