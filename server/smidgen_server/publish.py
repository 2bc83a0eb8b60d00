"""`smidgen publish --data DIR`: publishing into a data directory on the same machine, without HTTP.

A server may run on the same directory meanwhile; it serves the new ref at once.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smidgen_deltas.errors import UsageError
from smidgen_server.cli import one_line_errors
from smidgen_server.memory import limit_heaps

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.tasks import Progress

LINE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Published:
    """What was done: the ref as a client names it, the revision, seconds it took."""

    ref: str
    revision: str
    seconds: float


@click.command("publish-local")
@click.argument("source")
@click.argument("target")
@click.option("--data", type=click.Path(path_type=Path), help="Directory of everything the server keeps.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end, no progress.")
@one_line_errors
def publish_local(source: str, target: str, data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Publish SOURCE (ostree:REPO[@REV] or oci:DIR:TAG) as TARGET (NAME/REF or NAME:TAG)."""
    from smidgen_server.logs import configure
    from smidgen_server.services.container import open_services
    from smidgen_server.settings_load import load

    limit_heaps()
    settings = load({"data": data}, file)
    configure("warning" if settings.log_level == "info" else settings.log_level)
    with open_services(settings) as services:
        done = publish(services, source, target, _quiet if as_json else Lines())
    text = f"{done.ref} is {done.revision} ({done.seconds:.1f} s)"
    click.echo(json.dumps({"event": "result", **asdict(done)}) if as_json else text)


def publish(services: Services, source: str, target: str, progress: Progress) -> Published:
    """Publish one source; see `publish_local` for the forms. Raises UsageError and what the ingest raises."""
    started = time.monotonic()
    kind, _, rest = source.partition(":")
    if kind == "ostree" and rest:
        ref, revision = _publish_ostree(services, rest, target, progress)
    elif kind == "oci" and rest:
        ref, revision = _publish_oci(services, rest, target, progress)
    else:
        raise UsageError("a source is named ostree:REPO[@REV] or oci:DIR:TAG", given=source[:200])
    return Published(ref, revision, round(time.monotonic() - started, 3))


def _publish_ostree(services: Services, source: str, target: str, progress: Progress) -> tuple[str, str]:
    from smidgen_deltas.ostree.repo import Repository
    from smidgen_server.services import ingest_ostree

    path, at, rev = source.partition("@")
    repo, slash, ref = target.partition("/")
    if not slash or (at and not rev):
        raise UsageError("a commit is published as NAME/REF", given=target[:200])
    repository = Repository.open(Path(path))
    commit = repository.resolve(rev or ref)
    ingest_ostree.publish(services, repository, commit.hex(), repo, ref, progress)
    return f"ostree/{repo}/{ref}", f"sha256:{commit.hex()}"


def _publish_oci(services: Services, source: str, target: str, progress: Progress) -> tuple[str, str]:
    from smidgen_deltas.oci.layout import Layout, split_address
    from smidgen_server.services import ingest_oci

    path, tag = split_address(source)
    name, colon, new_tag = target.rpartition(":")
    if not colon:
        raise UsageError("an image is published as NAME:TAG", given=target[:200])
    digest = ingest_oci.publish(services, Layout.open(Path(path)), tag, name, new_tag, progress)
    return f"oci/{name}:{new_tag}", str(digest)


class Lines:
    """Progress as a line on stderr now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, done: int, total: int, unit: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + LINE_SECONDS
            print(f"{done} of {total} {unit}" if total else f"{done} {unit}", file=sys.stderr, flush=True)


def _quiet(done: int, total: int, unit: str) -> None:
    """Nobody watches."""
