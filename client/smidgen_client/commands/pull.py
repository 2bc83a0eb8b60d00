"""`smidgen pull URL REF --into STORE`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from smidgen_client.commands.options import (
    RATE,
    REF,
    SIZE,
    STORE,
    emit,
    json_option,
    link_option,
    prefer_option,
    state_option,
    token_option,
    wait_option,
)
from smidgen_client.memory import available, tame_allocator
from smidgen_client.names import Address, RefName
from smidgen_client.plan.ways import Limits, Plan, Prefer
from smidgen_client.progress import human, open_progress
from smidgen_client.pull.request import Layers, PullRequest, PullResult
from smidgen_client.pull.run import Pull
from smidgen_client.settings import read_environment
from smidgen_client.state.state import open_state
from smidgen_client.state.trust import parse_keys
from smidgen_client.transport.client import Options, Transport


@click.command()
@click.argument("url")
@click.argument("ref", type=REF)
@click.option("--into", "target", type=STORE, required=True, help="ostree:REPO, oci:DIR:TAG or tree:DIR.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and stop.")
@click.option("--max-bytes", type=SIZE, help="Fetch at most this much, metadata included.")
@click.option("--rate", type=RATE, help="Fetch at most this much per second.")
@link_option
@prefer_option
@click.option("--max-memory", type=SIZE, help="Take no delta that needs more memory than this (what is available).")
@click.option(
    "--max-scratch", type=SIZE, help="Take no delta that needs more disk space meanwhile than this (what is free)."
)
@click.option("--max-cpu", type=click.IntRange(0, 3), help="Take no delta with a higher class of work.")
@click.option("--metered", is_flag=True, help="Never fetch noticeably more than announced; prefer bytes to time.")
@click.option("--key", "key_texts", multiple=True, help="Trust this key of the server (base64), and no other.")
@click.option("--trust-file", "key_files", multiple=True, type=click.Path(path_type=Path), help="As --key: keys.json.")
@click.option(
    "--mode",
    type=click.Choice(["bare", "bare-user", "bare-user-only", "archive"]),
    help="Of an ostree repository that is made now.",
)
@click.option("--remote", default="", help="File the commit under this remote of the ostree repository.")
@click.option(
    "--layers",
    type=click.Choice(["auto", "exact", "tar"]),
    default="auto",
    help="Images: fewest bytes, same manifest digest, or always uncompressed layers. The image id never changes.",
)
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option("--no-delta", is_flag=True, help="Fetch from packs even where a delta is offered.")
@wait_option
@token_option
@state_option
@json_option
def pull(
    *,
    url: str,
    ref: RefName,
    target: Address,
    dry_run: bool,
    max_bytes: int | None,
    rate: int | None,
    link: float | None,
    prefer: Prefer | None,
    max_memory: int | None,
    max_scratch: int | None,
    max_cpu: int | None,
    metered: bool,
    key_texts: tuple[str, ...],
    key_files: tuple[Path, ...],
    mode: str | None,
    remote: str,
    layers: Layers,
    connections: int,
    no_delta: bool,
    wait: bool,
    token_file: Path | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Fetch what is missing of REF on the server at URL into a store of this device.

    URL is that of a server or of an exported folder, or bundle:FILE. REF is ostree/NAME/REF or oci/NAME:TAG. What was
    fetched and verified is kept whatever happens: run the same command again to go on.
    """
    tame_allocator()
    environment = read_environment(state=state, token_file=token_file)
    request = PullRequest(
        name=ref,
        target=target,
        keys=parse_keys(key_texts, key_files),
        mode=mode or "",
        remote=remote,
        layers=layers,
        dry_run=dry_run,
        metered=metered,
        wait=wait,
        connections=connections,
        delta=not no_delta,
        prefer=prefer or environment.prefer,
        link=link or environment.link,
        limits=Limits(
            memory=_first(max_memory, environment.max_memory, available()),
            scratch=_first(max_scratch, environment.max_scratch, shutil.disk_usage(tempfile.gettempdir()).free),
            cpu=max_cpu,
        ),
    )
    options = Options(token=environment.token, max_bytes=max_bytes, rate=rate, connections=connections)
    with (
        open_state(environment.state) as opened,
        Transport(url, options) as transport,
        open_progress(as_json=as_json, quiet=False) as progress,
    ):
        result = Pull(opened, transport, request, progress).run()
    emit(result.as_json(), as_json=as_json, text=describe(result))


def _first(*limits: int | None) -> int | None:
    """The first limit that is set: by option, by setting, by what the machine has."""
    return next((limit for limit in limits if limit is not None), None)


def describe(result: PullResult) -> str:
    """The result for people."""
    if result.unchanged:
        return f"{result.target} has {result.revision} already"
    if result.dry_run:
        return "\n".join(
            [
                f"{result.revision}: {human(result.bytes_planned)} in {result.requests_planned} requests would be"
                " fetched",
                *describe_plan(result.plan),
            ]
        )
    lines = [
        f"{result.target} is at {result.revision}: {human(result.bytes_fetched)} in {result.requests} requests,"
        f" {result.seconds:.1f} s (in full: {human(result.bytes_full)})"
    ]
    lines += _about_delta(result)
    if result.stored not in (result.revision, result.revision.partition(":")[2]):
        lines.append(f"layers were rewritten (same image id); the manifest here is {result.stored}")
    return "\n".join(lines)


def describe_plan(plan: Plan | None) -> list[str]:
    """All ways, the chosen one marked, each with what it costs and why it was not taken; then the rule."""
    if plan is None:
        return []
    lines = []
    for at, way in enumerate(plan.considered):
        mark = "->" if at == plan.chosen else "  "
        seconds = f", {way.seconds:.1f} s" if way.seconds else ""
        why = f": {way.why_not}" if way.why_not else ""
        lines.append(f"{mark} {way.name}: {human(way.bytes)} in {way.requests} requests{seconds}{why}")
    return [*lines, f"   by the rule: {plan.rule}"]


def _about_delta(result: PullResult) -> list[str]:
    found = result.delta
    return [f"{'by delta' if found.used else 'without delta'}: {found.reason}"] if found else []
