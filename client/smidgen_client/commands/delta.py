"""`smidgen delta`: make, apply, verify and show deltas."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click

from smidgen_client.commands.options import SIZE, emit, json_option
from smidgen_client.deltas.inputs import open_input
from smidgen_client.deltas.kinds import kind_of
from smidgen_client.deltas.outputs import apply_file, replacing, verify_file
from smidgen_client.deltas.shown import show_delta
from smidgen_client.deltas.static import apply_static, make_static, show_static
from smidgen_client.deltas.tardiff import apply_tardiff, make_tardiff, show_tardiff
from smidgen_client.deltas.threads import Threads, cores
from smidgen_client.progress import Progress, human, open_progress
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.make import Line, Report, make
from smidgen_deltas.engine.profile import Profile, parse_profile
from smidgen_deltas.errors import UsageError

FILE = click.Path(path_type=Path, dir_okay=False)
SIDE = click.Path(path_type=Path)
KEYS: Final = click.option(
    "--key", "keys", multiple=True, help="A static delta must be signed by this ed25519 key (base64), or another given."
)


SHOWN: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {
    "smidgen": show_delta,
    "ostree": show_static,
    "tardiff": show_tardiff,
}


@click.group()
def delta() -> None:
    """Make, apply, verify and show deltas."""


@delta.command("make")
@click.argument("old", nargs=-1, required=True, type=SIDE)
@click.argument("new", type=SIDE)
@click.option("-o", "--output", required=True, type=FILE, help="Where to write the delta.")
@click.option(
    "--format", "form", type=click.Choice(["smidgen", "ostree", "tardiff"]), default="smidgen", show_default=True
)
@click.option("--effort", type=click.Choice(["fast", "default", "best"]), default="default", show_default=True)
@click.option(
    "--profile", default="full", show_default=True, help="What the device can do, like small or full,memory=96M."
)
@click.option("--list", "listed", is_flag=True, help="Show how each file comes: method, source, bytes, why.")
@json_option
def delta_make(
    *, old: tuple[Path, ...], new: Path, output: Path, form: str, effort: str, profile: str, listed: bool, as_json: bool
) -> None:
    """Make a delta from one or several OLD files, folders, commits or images to NEW.

    A commit is named ostree:REPO@REV, an image oci:DIR:TAG.
    Tars, also compressed ones, are compared member by member; applying such a delta gives the uncompressed tar. A delta
    to a folder gives a folder, with owners (as root), modes, times, links and extended attributes.

    With --format ostree it is a static delta that stock ostree applies: OLD and NEW are ostree:REPO@REV, OLD may be
    the word empty; -o ostree:REPO puts it where clients of that repository look. With --format tardiff it is what
    tar-patch and flatpak apply: OLD are layers, lowest first, NEW is a layer.

    A profile bounds what a delta of smidgen's own asks of the device: full, desktop (1 GiB, no level of the slowest
    encoders), light (256 MiB), small (64 MiB, nothing encoded again), and behind it cpu=none|light|heavy|extreme,
    memory=SIZE, codec=zstd|lzma2, without=TRANSFORM, saves=SIZE (bytes that a second of encoding must save).
    """
    bounds = parse_profile(profile)
    lines: list[Line] = []
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        if form == "ostree":
            if len(old) > 1:
                raise UsageError("a static delta has one source")
            made = make_static(str(old[0]), str(new), str(output), executor)
            size, whole, output = made.size, made.output, made.path
        elif form == "tardiff":
            size, whole = make_tardiff(old, new, output, executor)
        else:
            with open_progress(as_json=False, quiet=as_json) as progress:
                report = _make(old, new, output, effort, bounds, executor, progress)
            size, whole, lines = report.size, report.output, report.lines
    facts: dict[str, Any] = {"delta": str(output), "format": form, "size": size, "output": whole}
    shown = []
    if listed:
        facts["files"] = lines
        shown = [f"{one.weight:10} {one.method:12} {one.path}  {one.source}  {one.why}" for one in lines]
    text = "\n".join([*shown, f"{human(size)} rebuild {human(whole)} of new content"])
    emit(facts, as_json=as_json, text=text)


class _Announcer:
    """Passes on what the engine counts."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done, self._begun = progress, 0, False

    def __call__(self, done: int, total: int) -> None:
        if not self._begun:
            self._begun = True
            self._progress.begin("compare", total)
        self._progress.advance(done - self._done)
        self._done = done


def _make(
    old: tuple[Path, ...],
    new: Path,
    output: Path,
    effort: str,
    profile: Profile,
    executor: Executor,
    progress: Progress,
) -> Report:
    with contextlib.ExitStack() as stack:
        *olds, target = executor.map(lambda path: stack.enter_context(open_input(path)), (*old, new))
        if {entry.tree.document is None for entry in olds} != {target.tree.document is None}:
            raise UsageError("old and new must be all trees (tars, folders) or all plain files", new=str(new))
        with replacing(output) as file:
            trees = [entry.tree for entry in olds]
            report = make(trees, target.tree, file, effort, executor, _Announcer(progress), profile=profile)
        progress.end()
    return report


@delta.command("apply")
@click.argument("file", type=SIDE)
@click.option(
    "--from",
    "old",
    multiple=True,
    required=True,
    type=SIDE,
    help="An old file; may be given several times.",
)
@click.option("-o", "--output", required=True, type=SIDE, help="Where to write the result.")
@KEYS
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="Rebuild so many files at a time (one for each core, at most 4)."
)
@click.option(
    "--max-memory", type=SIZE, help="Refuse a delta that needs more; fewer files at a time where it takes that."
)
@click.option("--expect", metavar="DIGEST", help="What a tar-diff has to make: its diff_id, sha256:… of the tar.")
@json_option
def delta_apply(
    *,
    file: Path,
    old: tuple[Path, ...],
    output: Path,
    keys: tuple[str, ...],
    jobs: int | None,
    max_memory: int | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Rebuild the new file from a delta FILE and the old ones; every digest is checked.

    A delta to a commit is applied with -o ostree:REPO@REF, one to an image with -o oci:DIR:TAG.

    A static delta of ostree, in one file or a folder, is applied within a repository: --from and -o are ostree:REPO.
    A tar-diff is applied to the old tars, lowest layer first, or to the folder that they were extracted to, and makes a
    tar; -o folder:DIR extracts it, -o oci:DIR puts it into an OCI layout as a blob. It has no digest of the result:
    give --expect.
    """
    kind = kind_of(file)
    _check_keys(kind, keys)
    if expect and kind != "tardiff":
        raise UsageError("only tar-diffs lack the digest of their result", format=kind)
    facts: dict[str, Any] = {"output": str(output)}
    match kind:
        case "ostree":
            if set(old) != {output}:
                raise UsageError("a static delta is applied within one repository: --from and -o are the same")
            commit = apply_static(file, str(output), keys).hex()
            facts |= {"commit": commit}
            text = f"{output.name} has commit {commit}, verified"
        case "tardiff":
            made = apply_tardiff(file, old, str(output), Digest.parse(expect) if expect else None)
            facts |= {"size": made.size, "digest": str(made.digest)}
            text = f"wrote {output} ({human(made.size)}), {made.digest}"
        case "smidgen":
            with contextlib.ExitStack() as stack:
                inputs = [stack.enter_context(open_input(path)) for path in old]
                size = apply_file(file, inputs, output, Threads(jobs or cores(), max_memory))
            facts |= {"size": size}
            text = f"wrote {output} ({human(size)}), verified"
    emit(facts, as_json=as_json, text=text)


@delta.command("verify")
@click.argument("file", type=SIDE)
@click.option(
    "--from", "old", multiple=True, type=SIDE, help="Also rebuild from these old files, and forget the result."
)
@KEYS
@json_option
def delta_verify(*, file: Path, old: tuple[Path, ...], keys: tuple[str, ...], as_json: bool) -> None:
    """Check a delta FILE, of any format: every digest that it has, and that it is whole."""
    kind = kind_of(file)
    _check_keys(kind, keys)
    if kind == "smidgen":
        with contextlib.ExitStack() as stack:
            checked = verify_file(file, [stack.enter_context(open_input(path)) for path in old], Threads(cores()))
    elif old:
        raise UsageError("only deltas of smidgen's own are verified with --from", format=kind)
    elif keys:
        checked = int(show_static(file, keys)["size"])
    else:
        checked = int(SHOWN[kind](file)["size"])
    emit({"delta": str(file), "format": kind, "checked": checked}, as_json=as_json, text=f"{human(checked)} are right")


def _check_keys(kind: str, keys: Sequence[str]) -> None:
    if keys and kind != "ostree":
        raise UsageError("only static deltas of ostree are signed by themselves", format=kind)


@delta.command("show")
@click.argument("file", type=SIDE)
@click.option("--from", "old", multiple=True, type=SIDE, help="The old files: then all is shown by name.")
@json_option
def delta_show(*, file: Path, old: tuple[Path, ...], as_json: bool) -> None:
    """What is in a delta FILE and what applying it needs; also of ostree's static deltas and of tar-diffs.

    Of each file: its bytes in the delta, how it is made, from what, and why.
    """
    kind = kind_of(file)
    if old and kind != "smidgen":
        raise UsageError("only deltas of smidgen's own are shown with --from", format=kind)
    with contextlib.ExitStack() as stack:
        inputs = [stack.enter_context(open_input(path)) for path in old]
        facts = show_delta(file, inputs) if inputs else SHOWN[kind](file)
    lines = [f"{name:14} {_shown(value)}" for name, value in facts.items() if name != "files" or kind != "smidgen"]
    if kind == "smidgen":
        lines += [_file_line(**one) for one in facts["files"]]
    emit(facts, as_json=as_json, text="\n".join(lines))


def _file_line(*, path: str, size: int, method: str, sources: list[str], bytes: int, why: str) -> str:  # noqa: A002
    source = sources[0] + (f" and {len(sources) - 1} more" if len(sources) > 1 else "") if sources else ""
    return f"{bytes:10} of {size:10} {method:12} {path}  {source}  {why}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items() if one not in (None, {}))
    if isinstance(value, (list, tuple)):
        separator = "\n" + " " * 15 if any(isinstance(one, dict) for one in value) else ", "
        return separator.join(map(_shown, value)) or "-"
    return "-" if value is None else str(value)
