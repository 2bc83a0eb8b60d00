"""`smidgen bundle`: one signed file for devices without a network."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smidgen_server.cli import one_line_errors

if TYPE_CHECKING:
    from smidgen_server.services.refs import RefName

DAY = 86400


@click.command("bundle")
@click.argument("names", nargs=-1, required=True, metavar="REF…")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The bundle.")
@click.option("--from", "sources", multiple=True, metavar="REVISION", help="A digest, or another ref; several times.")
@click.option("--full", is_flag=True, help="Also for devices that have none of these revisions.")
@click.option("--effort", type=click.Choice(["fast", "default", "best"]), help="For deltas made now; deltas.effort.")
@click.option("--valid", type=click.IntRange(1, 3650), default=90, show_default=True, help="Days until it expires.")
@click.option("--data", type=click.Path(path_type=Path), help="Directory of everything the server keeps.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end, no progress.")
@one_line_errors
def bundle(
    names: tuple[str, ...],
    output: Path,
    sources: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    *,
    full: bool,
    effort: str | None,
    valid: int,
    as_json: bool,
) -> None:
    """Put what devices need to get to REF… (ostree/NAME/REF, oci/NAME:TAG) into one signed file.

    With --from it holds deltas from these revisions, made now where there are none; without, all that a device needs
    which has nothing. A device applies it with smidgen pull bundle:FILE REF --into STORE.
    """
    from smidgen_deltas.errors import NotFound, StorageError
    from smidgen_server.blobs.staging import sync_directory
    from smidgen_server.logs import configure
    from smidgen_server.services import bundle as service
    from smidgen_server.services.container import open_services
    from smidgen_server.settings_load import load

    settings = load({"data": data}, file)
    if effort:
        settings = settings.model_copy(update={"deltas": settings.deltas.model_copy(update={"effort": effort})})
    configure("warning" if settings.log_level == "info" else settings.log_level)
    if settings.database is None and not settings.data.is_dir():
        raise NotFound("there is no server's directory", data=str(settings.data))
    refs = [_ref(name) for name in names]
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            part = Path(folder) / output.name
            with open_services(settings) as services, part.open("wb") as out:
                made = service.write(
                    services, out, refs, sources, valid * DAY, _quiet if as_json else _say, full=full
                )  # fmt: skip
                out.flush()
                os.fsync(out.fileno())
            part.rename(output)
            sync_directory(output.parent)
    except OSError as error:
        raise StorageError("the bundle cannot be written", path=str(output), reason=error.strerror) from error
    lines = [f"{ref} from {', '.join(sources) or 'nothing'}" for ref, sources in made.deltas.items()]
    text = "\n".join([*lines, f"wrote {output}: {made.size} bytes, {made.files} files, valid for {valid} days"])
    click.echo(json.dumps({"bundle": str(output), **asdict(made)}) if as_json else text)


def _ref(text: str) -> RefName:
    from smidgen_deltas.errors import UsageError
    from smidgen_server.services.refs import RefName as Name

    kind, _, rest = text.partition("/")
    repo, _, ref = rest.partition("/") if kind == "ostree" else rest.rpartition(":")
    if kind not in ("ostree", "oci") or not repo or not ref:
        raise UsageError("a ref is named ostree/NAME/REF or oci/NAME:TAG", given=text[:200])
    return Name("ostree" if kind == "ostree" else "oci", repo, ref)


def _quiet(said: str) -> None:
    """No progress."""


def _say(said: str) -> None:
    print(said, file=sys.stderr, flush=True)
