"""Commands of the server: serve, db, keys, config. `smidgen` loads them by entry point; `python -m smidgen_server` too.

Modules that are heavy are imported by the command that needs them, so that `smidgen --help` stays quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from smidgen_deltas.errors import SmidgenError

Command = TypeVar("Command", bound=Callable[..., Any])

_DATA = click.option("--data", type=click.Path(path_type=Path), help="Directory of everything the server keeps.")
_CONFIG = click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML).")


def one_line_errors(command: Command) -> Command:
    """Show a SmidgenError as one line and its advice (with --json also as JSON, as all of smidgen does), and exit with
    its code."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except SmidgenError as error:
            if _json_wanted():
                click.echo(json.dumps({"error": error.as_json()}))
            click.echo(f"smidgen: {error}\n  {error.advice()}", err=True)
            sys.exit(error.exit)

    return run  # type: ignore[return-value]


def _json_wanted() -> bool:
    """Whether the command or the group that it belongs to was given --json."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.params.get("as_json") or getattr(context.obj, "as_json", False):
            return True
        context = context.parent
    return False


@click.command()
@_DATA
@click.option("--listen", help="HOST:PORT; 127.0.0.1:8650 by default.")
@click.option("--uds", type=click.Path(path_type=Path), help="Listen on this Unix socket instead.")
@click.option("--fd", type=int, help="Listen on an open socket given by the parent process.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@_CONFIG
@one_line_errors
def serve(
    data: Path | None, listen: str | None, uds: Path | None, fd: int | None, log_level: str | None, file: Path | None
) -> None:
    """Run the server. Everything else is set by file and environment: `smidgen config schema`."""
    from smidgen_server.listen import open_socket
    from smidgen_server.serve import run
    from smidgen_server.settings_load import activated_sockets, load

    settings = load({"data": data, "listen": listen, "uds": uds, "log_level": log_level}, file)
    run(settings, open_socket(settings, fd=fd, activated=activated_sockets()))


@click.group()
def db() -> None:
    """The index's database."""


@db.command()
@_DATA
@_CONFIG
@one_line_errors
def upgrade(data: Path | None, file: Path | None) -> None:
    """Bring the schema up to date (`serve` does so too)."""
    from smidgen_server.blobs.staging import storage_errors
    from smidgen_server.index.base import Index
    from smidgen_server.settings_load import load

    settings = load({"data": data}, file)
    with storage_errors():
        settings.data.mkdir(parents=True, exist_ok=True)
    index = Index(settings.database_url)
    try:
        index.upgrade()
    finally:
        index.close()
    click.echo("The schema is up to date.")


@click.group()
def keys() -> None:
    """Signing keys of the update surface, and access tokens."""


def _signing_keys(data: Path | None, file: Path | None) -> Any:
    from smidgen_server.services.keys import SigningKeys
    from smidgen_server.settings_load import load

    return SigningKeys(load({"data": data}, file).key_dir)


@keys.command("list")
@_DATA
@_CONFIG
@click.option("--json", "as_json", is_flag=True)
@one_line_errors
def list_keys(data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Show the keys; * marks the one that signs first."""
    found = _signing_keys(data, file)
    current = found.current()
    if as_json:
        click.echo(json.dumps([{"id": one, "current": one == current} for one in found.ids()]))
        return
    for one in found.ids():
        click.echo(f"{'*' if one == current else ' '} {one}")
    if not found.ids():
        click.echo("no keys yet; the server makes one when it signs for the first time")


@keys.command()
@_DATA
@_CONFIG
@one_line_errors
def new(data: Path | None, file: Path | None) -> None:
    """Make a key and print its id. Documents are signed with all keys from then on."""
    click.echo(_signing_keys(data, file).new())


@keys.command()
@click.argument("key")
@_DATA
@_CONFIG
@one_line_errors
def rotate(key: str, data: Path | None, file: Path | None) -> None:
    """Let KEY be the one that signs first."""
    _signing_keys(data, file).rotate(key)


@keys.command()
@click.argument("key")
@_DATA
@_CONFIG
@one_line_errors
def remove(key: str, data: Path | None, file: Path | None) -> None:
    """Forget KEY. Devices that know no other key of this server will refuse its documents."""
    _signing_keys(data, file).remove(key)


@keys.command()
@click.argument("key", required=False)
@_DATA
@_CONFIG
@one_line_errors
def export(key: str | None, data: Path | None, file: Path | None) -> None:
    """Print the public part of KEY (the current one by default) as PEM."""
    from smidgen_deltas.errors import NotFound

    found = _signing_keys(data, file)
    chosen = key or found.current()
    if chosen is None:
        raise NotFound("there is no key yet; `smidgen keys new` makes one")
    click.echo(found.export(chosen).decode(), nl=False)


@keys.command()
@click.argument("name")
@click.option("--repo", "repos", multiple=True, default=("*",), help='Pattern of "kind/name", such as "oci/team/*".')
@click.option(
    "--action", "actions", multiple=True, default=("pull",), type=click.Choice(["pull", "push", "delete", "admin"])
)
def token(name: str, repos: tuple[str, ...], actions: tuple[str, ...]) -> None:
    """Make an access token: prints it once, and the lines for the settings file that let it in."""
    from secrets import token_urlsafe

    from smidgen_server.services.passwords import token_hash

    made = token_urlsafe(32)
    click.echo(f"token: {made}", err=True)
    click.echo("[[auth.tokens]]")
    click.echo(f"name = {json.dumps(name)}\nsha256 = {json.dumps(token_hash(made))}")
    click.echo(f"repos = {json.dumps(list(repos))}\nactions = {json.dumps(list(actions))}")


@keys.command()
@click.argument("user")
@click.option("--password", "given", help="Instead of asking on the terminal, or reading a line of standard input.")
@one_line_errors
def password(user: str, given: str | None) -> None:
    """Print a line for the htpasswd file."""
    from smidgen_deltas.errors import UsageError
    from smidgen_server.services.passwords import hash_password

    chosen = given if given is not None else _asked_password()
    if not user or ":" in user or not chosen:
        raise UsageError("a user has a name without a colon, and a password", user=user[:100])
    click.echo(f"{user}:{hash_password(chosen)}")


def _asked_password() -> str:
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    return sys.stdin.readline().rstrip("\r\n")


@click.group()
def config() -> None:
    """The server's settings."""


@config.command()
@_DATA
@_CONFIG
@one_line_errors
def show(data: Path | None, file: Path | None) -> None:
    """Print the settings in force as JSON, secrets left out."""
    from smidgen_server.settings_load import load, without_secrets

    click.echo(json.dumps(without_secrets(load({"data": data}, file)), indent=2))


@config.command()
@_DATA
@_CONFIG
@one_line_errors
def verify(data: Path | None, file: Path | None) -> None:
    """Check the settings, and that the files they name can be used; changes nothing."""
    from smidgen_server.services.passwords import Passwords
    from smidgen_server.settings_load import load

    settings = load({"data": data}, file)
    Passwords(settings.auth.htpasswd)
    click.echo("The settings are right.")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the settings file."""
    from smidgen_server.settings import Settings

    click.echo(json.dumps(Settings.model_json_schema(), indent=2))
