"""`smidgen jobs`: the builds of deltas, and the policies that ask for them, by way of the index itself.

It works beside running servers, and without one: builds are rows, and whoever builds looks at its row all the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smidgen_server.cli import one_line_errors

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from smidgen_server.services.jobs_view import JobView
    from smidgen_server.settings import Settings

STATES = ("waiting", "building", "ready", "useless", "failed", "evicted", "cancelled")
DIGITS = 12  # of a digest, for people


class Place:
    """Where the commands work, and how they answer."""

    def __init__(self, data: Path | None, file: Path | None, *, as_json: bool) -> None:
        self._data, self._file, self.as_json = data, file, as_json

    def settings(self) -> Settings:
        """Raises SettingsError."""
        from smidgen_server.settings_load import load

        return load({"data": self._data}, self._file)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A writing transaction. Raises NotFound where there is no index."""
        from smidgen_deltas.errors import NotFound
        from smidgen_server.index.base import Index

        settings = self.settings()
        if settings.database is None and not settings.data.is_dir():
            raise NotFound("there is no server's directory", data=str(settings.data))
        index = Index(settings.database_url, pool_size=1)
        try:
            index.upgrade()
            with index.session() as session:
                yield session
        finally:
            index.close()

    def answer(self, value: Any, text: str) -> None:
        click.echo(json.dumps(value) if self.as_json else text)


def _set_json(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's interface
    if wanted:
        context.obj.as_json = True


_JSON = click.option("--json", is_flag=True, expose_value=False, callback=_set_json, help="For programs.")


@click.group(invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path), help="Directory of everything the server keeps.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def jobs(context: click.Context, data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Builds of deltas: what waits, what is built, what was set aside and why."""
    context.obj = Place(data, file, as_json=as_json)
    if context.invoked_subcommand is None:
        context.invoke(list_jobs)


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these.")
@click.option("--before", type=int, help="Go on from this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@_JSON
@click.pass_obj
@one_line_errors
def list_jobs(place: Place, states: tuple[str, ...] = (), before: int | None = None, limit: int = 100) -> None:
    """Newest first."""
    from smidgen_server.services import jobs_view

    with place.session() as session:
        found = jobs_view.listing(session, states, before, limit)
        counts = jobs_view.counts(session)
    lines = [_line(one) for one in found]
    lines.append(", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no jobs")
    place.answer({"jobs": [asdict(one) for one in found], "counts": counts}, "\n".join(lines))


@jobs.command()
@click.argument("number", type=int)
@_JSON
@click.pass_obj
@one_line_errors
def show(place: Place, number: int) -> None:
    """Everything about a job."""
    _show(place, number)


@jobs.command()
@click.argument("number", type=int)
@_JSON
@click.pass_obj
@one_line_errors
def cancel(place: Place, number: int) -> None:
    """Stop a build, or keep it from beginning."""
    from smidgen_server.services import jobs_orders

    with place.session() as session:
        jobs_orders.cancel(session, number)
    _show(place, number)


@jobs.command()
@click.argument("number", type=int)
@_JSON
@click.pass_obj
@one_line_errors
def retry(place: Place, number: int) -> None:
    """Build what was set aside, cancelled or evicted."""
    from smidgen_server.services import jobs_orders

    with place.session() as session:
        jobs_orders.retry(session, number)
    _show(place, number)


@jobs.command()
@click.argument("repo")
@click.argument("target")
@click.option("--from", "source", default="", help="REF, DIGEST, KIND/NAME@REF, or several joined by +.")
@_JSON
@click.pass_obj
@one_line_errors
def add(place: Place, repo: str, target: str, source: str) -> None:
    """Want a delta to TARGET (a ref or digest) of REPO (KIND/NAME); without --from one from nothing."""
    from smidgen_server.services import jobs_orders

    with place.session() as session:
        numbers = jobs_orders.order(session, place.settings().deltas, repo, source, target)
    place.answer({"jobs": numbers}, "\n".join(map(str, numbers)))


@jobs.group()
def policy() -> None:
    """Which deltas the revisions of some refs get."""


@policy.command("list")
@_JSON
@click.pass_obj
@one_line_errors
def list_policies(place: Place) -> None:
    """Rules that were set here or through the API, then those of the settings file."""
    from smidgen_server.services import delta_policy

    with place.session() as session:
        stored = [one.model_dump(exclude_none=True) for one in delta_policy.stored(session)]
    given = [one.model_dump(exclude_none=True) for one in place.settings().deltas.policies]
    lines = [json.dumps(one) for one in (*stored, *given)]
    place.answer({"policies": stored, "settings": given}, "\n".join(lines) or "only the defaults")


@policy.command("set")
@click.argument("repos")
@click.argument("refs")
@click.option("--from-last", type=int, help="So many earlier revisions of the ref.")
@click.option("--from", "named", multiple=True, help="This revision: REF, DIGEST, KIND/NAME@REF, or joined by +.")
@click.option("--from-nothing/--not-from-nothing", default=None)
@click.option("--on-demand/--not-on-demand", default=None, help="When a device asks.")
@click.option("--format", "formats", multiple=True)
@click.option("--keep-share", type=float, help="Keep deltas of at most this share of the full update.")
@_JSON
@click.pass_obj
@one_line_errors
def set_policy(
    place: Place, /, repos: str, refs: str, named: tuple[str, ...], formats: tuple[str, ...], **rule: Any
) -> None:
    """Set the rule for REPOS (a pattern of KIND/NAME) and REFS (a pattern); what is not said is as in the settings."""
    from pydantic import ValidationError

    from smidgen_deltas.errors import UsageError
    from smidgen_server.services import jobs_orders
    from smidgen_server.settings import DeltaPolicy

    try:
        wanted = DeltaPolicy(repos=repos, refs=refs, from_named=named or None, formats=formats or None, **rule)
    except ValidationError as error:
        raise UsageError("not a policy", reason=str(error.errors()[0]["msg"])) from None
    with place.session() as session:
        jobs_orders.set_policy(session, place.settings().deltas, wanted)
    place.answer(wanted.model_dump(exclude_none=True), f"set for {repos} {refs}")


@policy.command("remove")
@click.argument("repos")
@click.argument("refs")
@_JSON
@click.pass_obj
@one_line_errors
def remove_policy(place: Place, repos: str, refs: str) -> None:
    """Forget the rule with exactly these patterns."""
    from smidgen_server.services import jobs_orders

    with place.session() as session:
        jobs_orders.remove_policy(session, repos, refs)
    place.answer({"removed": [repos, refs]}, f"removed {repos} {refs}")


def _show(place: Place, number: int) -> None:
    from smidgen_server.services import jobs_view

    with place.session() as session:
        found = asdict(jobs_view.find(session, number))
    place.answer(found, "\n".join(f"{name}: {_text(value)}" for name, value in found.items()))


def _line(one: JobView) -> str:
    sources = "+".join(_short(digest) for digest in one.sources) or "nothing"
    words = [f"{one.id:>6}", f"{one.state:<9}", one.repo, f"{sources} -> {_short(one.target)}", one.format]
    if one.state == "building" and one.total:
        words.append(f"{100 * one.done // one.total} %")
    elif one.size:
        words.append(f"{one.size} of {one.full} bytes")
    if one.reason:
        words.append(f"({one.reason})")
    return "  ".join(words)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:DIGITS]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str("" if value is None else value)
