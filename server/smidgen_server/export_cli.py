"""`smidgen export`: the update surface as static files."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smidgen_server.cli import one_line_errors

if TYPE_CHECKING:
    from smidgen_server.services.export import Exported

LINE_SECONDS: Final = 2.0


@click.command("export")
@click.argument("target")
@click.option("--data", type=click.Path(path_type=Path), help="Directory of everything the server keeps.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--repo", "names", multiple=True, help="ostree/NAME or oci/NAME; all public ones by default.")
@click.option("--prune", is_flag=True, help="Remove files of earlier exports that nothing names any more.")
@click.option("--verify", is_flag=True, help="Read what is there already, and write it again where it is wrong.")
@click.option("--option", "options", multiple=True, help="KEY=VALUE for the bucket; those of blobs.options by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end, no progress.")
@one_line_errors
def export(
    target: str,
    data: Path | None,
    file: Path | None,
    names: tuple[str, ...],
    options: tuple[str, ...],
    *,
    prune: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Write the update surface as static files to TARGET: a folder, or a bucket (s3://BUCKET/PREFIX).

    What is there already is kept, files that never change by their size: use --verify after the machine lost power.
    Any web server can serve the result to smidgen pull and to stock ostree. Ref
    documents are valid for a week: export again before that, also when nothing changed.
    """
    from smidgen_deltas.errors import NotFound, UsageError
    from smidgen_server.logs import configure
    from smidgen_server.services import export as service
    from smidgen_server.services.container import open_services
    from smidgen_server.services.export_target import open_target
    from smidgen_server.settings_load import load

    settings = load({"data": data}, file)
    configure("warning" if settings.log_level == "info" else settings.log_level)
    if settings.database is None and not settings.data.is_dir():
        raise NotFound("there is no server's directory", data=str(settings.data))
    pairs = [one.partition("=") for one in options]
    if not all(key and equals for key, equals, _ in pairs):
        raise UsageError("an option of a bucket is KEY=VALUE", given=list(options))
    place = open_target(target, {key: value for key, _, value in pairs} or settings.blobs.options)
    with open_services(settings) as services:
        announce = _quiet if as_json else Lines()
        done = service.export(services, place, names, prune=prune, verify=verify, announce=announce)
    repaired = f", {done.repaired} of them repaired" if done.repaired else ""
    text = f"{done.written} files written ({done.bytes} bytes){repaired}, {done.kept} kept, {done.removed} removed"
    click.echo(json.dumps(asdict(done)) if as_json else text)


def _quiet(_done: Exported) -> None:
    """No progress."""


class Lines:
    """Progress on standard error, now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, done: Exported) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            print(f"{done.written} files written, {done.kept} kept, {done.bytes} bytes", file=sys.stderr, flush=True)
