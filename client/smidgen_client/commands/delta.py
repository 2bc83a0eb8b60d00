"""`smidgen delta`: make, apply and show deltas of files and tars."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from smidgen_client.commands.options import emit, json_option
from smidgen_client.deltas.inputs import open_input, open_regular
from smidgen_client.deltas.outputs import apply_file, check_output, read_header
from smidgen_client.progress import human
from smidgen_deltas.engine.make import make
from smidgen_deltas.errors import UsageError

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def delta() -> None:
    """Make, apply and show deltas."""


@delta.command("make")
@click.argument("old", nargs=-1, required=True, type=FILE)
@click.argument("new", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="Where to write the delta.")
@click.option("--effort", type=click.Choice(["fast", "default", "best"]), default="default", show_default=True)
@json_option
def delta_make(*, old: tuple[Path, ...], new: Path, output: Path, effort: str, as_json: bool) -> None:
    """Make a delta from one or several OLD files to NEW.

    Tars, also compressed ones, are compared member by member; applying such a delta gives the uncompressed tar.
    """
    check_output(output)
    with contextlib.ExitStack() as stack:
        olds = [stack.enter_context(open_input(path)) for path in old]
        target = stack.enter_context(open_input(new))
        if {entry.tree.document is None for entry in olds} != {target.tree.document is None}:
            raise UsageError("old and new must be all tars or all plain files", new=str(new))
        part = stack.enter_context(NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False))
        stack.callback(Path(part.name).unlink, missing_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            report = make([entry.tree for entry in olds], target.tree, part.file, effort, executor)
        part.flush()
        Path(part.name).chmod(0o644)
        Path(part.name).rename(output)
    text = f"{human(report.size)} rebuild {human(report.output)} of new content"
    emit({"delta": str(output), "size": report.size, "output": report.output}, as_json=as_json, text=text)


@delta.command("apply")
@click.argument("file", type=FILE)
@click.option("--from", "old", multiple=True, required=True, type=FILE, help="An old file; may be given several times.")
@click.option("-o", "--output", required=True, type=FILE, help="Where to write the result.")
@json_option
def delta_apply(*, file: Path, old: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Rebuild the new file from a delta FILE and the old ones; every digest is checked."""
    with contextlib.ExitStack() as stack:
        inputs = [stack.enter_context(open_input(path)) for path in old]
        size = apply_file(file, inputs, output)
    emit({"output": str(output), "size": size}, as_json=as_json, text=f"wrote {output} ({human(size)}), verified")


@delta.command("show")
@click.argument("file", type=FILE)
@json_option
def delta_show(*, file: Path, as_json: bool) -> None:
    """What is in a delta FILE and what applying it needs."""
    with open_regular(file) as opened:
        header = read_header(opened)
    transforms = [f"{transform.name}-{transform.version}" for transform in header.transforms]
    facts = {
        "rebuilds": header.root.name.lower(),
        "size": file.stat().st_size,
        "targets": len(header.targets),
        "output": header.output,
        "memory": header.memory,
        "frames": len(header.frames),
        "sources": [entry.sha256.hex() for entry in header.sources if entry.sha256],
        "transforms": transforms,
    }
    lines = [
        f"{name:11} {value if not isinstance(value, list) else ', '.join(value) or '-'}"
        for name, value in facts.items()
    ]
    emit(facts, as_json=as_json, text="\n".join(lines))
