"""`smidgen bench`: rerun every comparison."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from smidgen_benchmarks import apply, corpora, deltas, fleet, link, link_scene, report, scaling, scaling_report, update
from smidgen_benchmarks.fleet_releases import fetch_releases
from smidgen_benchmarks.peers import PEERS
from smidgen_deltas.errors import SmidgenError

DATA = click.option(
    "--data", type=click.Path(path_type=Path), default=Path("bench-data"), help="Where corpora and reports are kept."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@click.group()
def bench() -> None:
    """Measure smidgen beside the public tools on this machine."""


@bench.command("deltas")
@click.argument("names", nargs=-1, metavar="[CORPUS…]")
@DATA
@click.option("--pair", "pairs", nargs=3, multiple=True, metavar="NAME OLD NEW", help="Add a pair of your own.")
@click.option("--only", multiple=True, metavar="METHOD", help="Only methods whose name begins so.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--scratch", type=click.Path(path_type=Path), default=None, help="Folder for temporary files.")
def bench_deltas(
    names: tuple[str, ...],
    data: Path,
    pairs: tuple[tuple[str, str, str], ...],
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click passes flags so
    scratch: Path | None,
) -> None:
    """Size, time and memory of every method on every corpus. Without names: all that can be fetched."""
    corpora.check_names(names)
    chosen = list(corpora.given({name: (Path(old), Path(new)) for name, old, new in pairs}))
    for name in names or ([] if pairs else corpora.names()):
        try:
            chosen.append(corpora.fetch(name, data))
        except SmidgenError as error:
            click.echo(f"left out {name}: {error}", err=True)
    methods = [peer for peer in PEERS if not only or peer.name.startswith(only)]
    announce = (lambda _: None) if as_json else _announce
    rows = list(deltas.compare(chosen, methods, announce, scratch))
    digests = {pair.name: pair.digests() for pair in chosen}
    written = report.write(data / "report", rows, digests)
    if as_json:
        click.echo(json.dumps(report.as_json(rows, digests), indent=1))
    else:
        click.echo(report.table(rows))
        click.echo(f"\nwritten: {written[0]} and {written[1]}")
    if any(row.make and not row.verified for row in rows):
        raise SystemExit(1)


@bench.command("apply")
@click.argument("names", nargs=-1, metavar="[CORPUS…]")
@DATA
@click.option("--pair", "pairs", nargs=3, multiple=True, metavar="NAME OLD NEW", help="Add a pair of your own.")
@click.option(
    "--effort", "efforts", type=click.Choice(["fast", "default", "best"]), multiple=True, default=("default",)
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), multiple=True, default=(1, 2), help="Files rebuilt at a time (1, 2)."
)
@AS_JSON
def bench_apply(
    names: tuple[str, ...],
    data: Path,
    pairs: tuple[tuple[str, str, str], ...],
    efforts: tuple[str, ...],
    jobs: tuple[int, ...],
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Output per second and core, memory, and what is spent beside the encoders; verified by digest.

    Without names both Debian corpora are used.
    """
    chosen = list(corpora.given({name: (Path(old), Path(new)) for name, old, new in pairs}))
    chosen += [corpora.fetch(name, data) for name in names or ([] if pairs else tuple(corpora.DEBIAN_SUITES))]
    rows = [row for pair in chosen for row in apply.measure(pair, efforts, jobs, data / "apply", _announce)]
    if as_json:
        click.echo(json.dumps({"machine": report.machine(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        click.echo(apply.table(rows))


@bench.command("scaling")
@click.argument("names", nargs=-1, metavar="[CORPUS…]")
@DATA
@click.option("--pair", "pairs", nargs=3, multiple=True, metavar="NAME OLD.tar NEW.tar", help="Add trees of your own.")
@click.option("--size", "sizes", type=click.IntRange(1, 100_000), multiple=True, default=scaling.SIZES, help="MB.")
@click.option("--effort", "efforts", type=click.Choice(["fast", "default", "best"]), multiple=True, default=("fast",))
@click.option(
    "--file", "file_size", type=int, default=scaling.ONE_FILE, show_default=True, help="MB of one file; 0: none."
)
@AS_JSON
def bench_scaling(
    names: tuple[str, ...],
    data: Path,
    pairs: tuple[tuple[str, str, str], ...],
    sizes: tuple[int, ...],
    efforts: tuple[str, ...],
    file_size: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """How cost grows from 50 MB to 2 GB, and with one file of over 2 GiB. Without names: all Debian corpora."""
    chosen = list(corpora.given({name: (Path(old), Path(new)) for name, old, new in pairs}))
    chosen += [corpora.fetch(name, data) for name in names or ([] if pairs else corpora.trees())]
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix="scaling-") as scratch:
        rows = list(scaling.measure(chosen, sizes, efforts, Path(scratch), _announce))
        if file_size:
            rows.append(scaling.measure_file(chosen, file_size, efforts[0], Path(scratch)))
    digests = {pair.name: pair.digests() for pair in chosen}
    written = scaling_report.write(data / "report", rows, digests)
    if as_json:
        click.echo(json.dumps(scaling_report.as_json(rows, digests), indent=1))
    else:
        click.echo(scaling.table(rows))
        click.echo(f"\nwritten: {written[0]} and {written[1]}")


@bench.command("update")
@click.argument("names", nargs=-1, metavar="[CORPUS…]")
@DATA
@click.option("--pair", "pairs", nargs=3, multiple=True, metavar="NAME OLD.tar NEW.tar", help="Add trees of your own.")
@AS_JSON
def bench_update(
    names: tuple[str, ...],
    data: Path,
    pairs: tuple[tuple[str, str, str], ...],
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Publish two versions of a Debian tree; pull and update them beside `ostree pull` and `skopeo copy`."""
    chosen = list(corpora.given({name: (Path(old), Path(new)) for name, old, new in pairs}))
    chosen += [corpora.fetch(name, data) for name in names or ([] if pairs else tuple(corpora.DEBIAN_SUITES))]
    results = []
    for pair in chosen:
        result = update.measure(pair, data / "update" / pair.name, _announce)
        results.append(result.as_json())
        if not as_json:
            click.echo(f"{pair.name}\n{update.table(result)}\n")
    if as_json:
        click.echo(json.dumps({"machine": report.machine(), "results": results}, indent=1))


@bench.command("fleet")
@DATA
@click.option("--devices", type=click.IntRange(5, 2000), default=200, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Devices that pull at once.")
@AS_JSON
def bench_fleet(data: Path, devices: int, jobs: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Update devices of five versions at once through nginx; what the server behind it had to send."""
    with tempfile.TemporaryDirectory(prefix="smidgen-fleet-") as scratch:
        releases = fetch_releases(data, Path(scratch) / "releases")
        result = fleet.measure(releases, devices, Path(scratch) / "fleet", _announce, jobs=jobs)
    click.echo(json.dumps(asdict(result), indent=1) if as_json else fleet.table(result))
    if result.verified != devices:
        raise SystemExit(1)


@bench.command("link")
@click.argument("names", nargs=-1, metavar="[CORPUS…]")
@DATA
@click.option("--pair", "pairs", nargs=3, multiple=True, metavar="NAME OLD.tar NEW.tar", help="Add trees of your own.")
@click.option(
    "--rate", "rates", type=float, multiple=True, help="Mbit/s in each direction (10, 1); 60 MB take 8 min at 1."
)
@click.option("--round-trip", type=float, default=0.1, show_default=True, help="Seconds.")
@click.option("--only", multiple=True, metavar="METHOD", help="Only methods whose name begins so.")
@AS_JSON
def bench_link(
    names: tuple[str, ...],
    data: Path,
    pairs: tuple[tuple[str, str, str], ...],
    rates: tuple[float, ...],
    round_trip: float,
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Update over a slow link, beside `ostree pull` with its static delta, tar-diff and `skopeo copy`.

    Without names both Debian corpora are used; any of "pypi-…" in `smidgen bench corpora` is smaller.
    """
    chosen = list(corpora.given({name: (Path(old), Path(new)) for name, old, new in pairs}))
    chosen += [corpora.fetch(name, data) for name in names or ([] if pairs else tuple(corpora.DEBIAN_SUITES))]
    methods = [method for method in link.METHODS if not only or method.name.startswith(only)]
    results = {}
    for pair in chosen:
        scene = link_scene.prepare(pair, (data / "link" / pair.name).absolute(), _announce)
        rows = list(link.measure(scene, rates or link.RATES, methods, round_trip, _announce))
        results[pair.name] = [asdict(row) for row in rows]
        if not as_json:
            click.echo(f"{pair.name}\n{link.table(rows)}\n")
    if as_json:
        click.echo(json.dumps({"machine": report.machine(), "round_trip": round_trip, "results": results}, indent=1))


def _announce(text: str) -> None:
    click.echo(f"… {text}", err=True)


@bench.command("corpora")
def bench_corpora() -> None:
    """List the corpora that can be fetched."""
    for name in corpora.names():
        click.echo(name)
