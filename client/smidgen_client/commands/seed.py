"""`smidgen seed add|list|remove`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from smidgen_client.commands.options import emit, json_option, state_option
from smidgen_client.names import absolute
from smidgen_client.progress import open_progress
from smidgen_client.seeds.index import SeedIndex
from smidgen_client.seeds.scan import scan
from smidgen_client.settings import Environment, read_environment
from smidgen_client.state.state import open_state
from smidgen_client.state.stores import SEED_FORMS, Seed, check_seed_kind
from smidgen_deltas.errors import NotFound, UsageError


@click.group()
def seed() -> None:
    """Name local files that updates may be made from."""


@seed.command()
@click.argument("source")
@state_option
@json_option
def add(*, source: str, state: Path | None, as_json: bool) -> None:
    """Add ostree:REPO, oci:LAYOUT, containers:STORAGE or folder:PATH.

    Its files are hashed now; later updates look only at what has changed. `containers:` without a path is the storage
    of podman for this user.
    """
    environment = read_environment(state=state)
    wanted = parse_seed(source, environment)
    with (
        open_state(environment.state) as opened,
        SeedIndex.open(opened.seed_cache) as index,
        open_progress(as_json=as_json, quiet=False) as progress,
    ):
        progress.say(f"looking through {wanted.kind}:{wanted.path}")
        progress.begin("hashing", 0)
        found = scan(index, wanted, progress)
        progress.end()
        opened.stores.add_seed(wanted.kind, wanted.path, int(time.time()))
    value = {"event": "result", "seed": asdict(wanted), **asdict(found)}
    text = f"{wanted.kind}:{wanted.path}: {found.files} files, {found.hashed} hashed, {found.unreadable} unreadable"
    emit(value, as_json=as_json, text=text)


@seed.command("list")
@state_option
@json_option
def listing(*, state: Path | None, as_json: bool) -> None:
    """Show the seeds."""
    with open_state(read_environment(state=state).state) as opened:
        seeds = opened.stores.seeds()
    text = "\n".join(f"{one.kind}:{one.path}" for one in seeds) or "no seeds"
    emit({"event": "result", "seeds": [asdict(one) for one in seeds]}, as_json=as_json, text=text)


@seed.command()
@click.argument("source")
@state_option
@json_option
def remove(*, source: str, state: Path | None, as_json: bool) -> None:
    """Forget a seed; its files stay."""
    environment = read_environment(state=state)
    wanted = parse_seed(source, environment)
    with open_state(environment.state) as opened, SeedIndex.open(opened.seed_cache) as index:
        if not opened.stores.remove_seed(wanted.kind, wanted.path):
            raise NotFound("there is no such seed", seed=source[:200])
        index.forget(Path(wanted.path))
    emit({"event": "result", "removed": asdict(wanted)}, as_json=as_json, text=f"forgot {source}")


def parse_seed(text: str, environment: Environment) -> Seed:
    """`kind:path` -> Seed with an absolute path. Raises UsageError."""
    name, _, path = text.partition(":")
    if not path and name != "containers":
        raise UsageError(SEED_FORMS, given=text[:200])
    kind = check_seed_kind(name)
    if not path:
        path = str(environment.containers)
    return Seed(kind, str(absolute(path)))
