"""How cost grows with the input: deltas between samples of real trees, from 50 MB to 2 GB, and of one file over 2 GiB.

A sample takes whole files, the same on both sides whatever the version in their paths, in an order that only depends on
their names; so a larger one contains every smaller one, nothing is in it twice, and everybody gets the same.
"""

from __future__ import annotations

import hashlib
import math
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_benchmarks.corpora import Pair
from smidgen_benchmarks.measure import Usage, run, sha256, size
from smidgen_benchmarks.peers import SMIDGEN
from smidgen_deltas.errors import DigestMismatch

SIZES: Final = (50, 100, 200, 500, 1000, 2000)  # MB
ONE_FILE: Final = 2200  # MB: over 2 GiB
_VERSION: Final = re.compile(r"\d+")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One delta; sizes in bytes. what: "trees" or "one file"."""

    what: str
    effort: str
    new: int
    delta: int
    make: Usage
    apply: Usage


def measure(
    pairs: Sequence[Pair], sizes: Iterable[int], efforts: Sequence[str], folder: Path, announce: Callable[[str], None]
) -> Iterator[Row]:
    """Make and apply a delta of each sample, in MB, of trees. Raises DigestMismatch when one comes back wrong.

    Stops at the first sample for which the pairs have too little.
    """
    for wanted in sizes:
        announce(f"a sample of {wanted} MB")
        old, new = folder / "old.tar", folder / "new.tar"
        if not sample(pairs, wanted * 1_000_000, old, new):
            announce(f"all there is to take is less than {wanted} MB")
            return
        for effort in efforts:
            yield _row("trees", effort, old, new, folder)
        old.unlink()
        new.unlink()


def measure_file(pairs: Sequence[Pair], wanted: int, effort: str, folder: Path) -> Row:
    """The same for one plain file on each side, of at most `wanted` MB: the trees' tars, one behind the other."""
    old, new = folder / "old.bin", folder / "new.bin"
    _joined([pair.old for pair in pairs], old, wanted * 1_000_000)
    _joined([pair.new for pair in pairs], new, wanted * 1_000_000)
    return _row("one file", effort, old, new, folder)


def _row(what: str, effort: str, old: Path, new: Path, folder: Path) -> Row:
    delta, output = folder / "delta", folder / "output"
    made = run((*SMIDGEN, "delta", "make", "--effort", effort, old, new, "-o", delta))
    applied = run((*SMIDGEN, "delta", "apply", delta, "--from", old, "-o", output))
    expected, found = sha256(new), sha256(output)
    if expected != found:
        raise DigestMismatch("the delta makes another file", expected=expected, found=found)
    row = Row(what, effort, size(new), size(delta), made, applied)
    for path in (delta, output):
        path.unlink()
    return row


def sample(pairs: Sequence[Pair], wanted: int, old: Path, new: Path) -> bool:
    """Write tars of files of the pairs, `wanted` bytes of new files or a little more; whether there is that much."""
    sizes: dict[str, int] = {}
    for pair in pairs:
        for member in _files(pair.new):
            key = _key(pair, member)
            sizes[key] = sizes.get(key, 0) + member.size
    chosen: set[str] = set()
    total = 0
    for key in sorted(sizes, key=lambda one: hashlib.sha256(one.encode()).digest()):
        if total >= wanted:
            break
        chosen.add(key)
        total += sizes[key]
    if total < wanted:
        return False
    for target, sides in ((old, [pair.old for pair in pairs]), (new, [pair.new for pair in pairs])):
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
            for pair, side in zip(pairs, sides, strict=True):
                _copy(pair, side, chosen, out)
    return True


def _files(tar: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            if member.isreg():
                yield member


def _key(pair: Pair, member: tarfile.TarInfo) -> str:
    """A file's name but for versions in its path."""
    return f"{pair.name}/{_VERSION.sub('#', member.name)}"


def _copy(pair: Pair, side: Path, chosen: set[str], out: tarfile.TarFile) -> None:
    with tarfile.open(side, "r:") as archive:
        for member in archive:
            if member.isreg() and _key(pair, member) in chosen:
                body = archive.extractfile(member)
                member.name = f"{pair.name}/{member.name}"
                member.pax_headers = {}
                out.addfile(member, body)


def _joined(parts: Iterable[Path], target: Path, limit: int) -> None:
    left = limit
    with target.open("wb") as out:
        left -= out.write(b"\0" * 512)  # what follows is no tar to anybody
        for part in parts:
            with part.open("rb") as file:
                while left > 0 and (block := file.read(min(_BLOCK, left))):
                    left -= out.write(block)


def exponent(rows: Sequence[Row], of: Callable[[Row], float]) -> float:
    """The slope of log(cost) over log(size), by least squares: 1 when cost grows as the input does."""
    points = [(math.log(row.new), math.log(of(row))) for row in rows]
    middle_x, middle_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return float(sum((x - middle_x) * (y - middle_y) for x, y in points) / spread)


def exponents(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """By effort, of trees of several sizes: what seconds of a core of making and of applying grow with."""
    found = {}
    for effort in dict.fromkeys(row.effort for row in rows):
        mine = [row for row in rows if row.effort == effort and row.what == "trees"]
        if len(mine) > 1:
            found[effort] = {
                "make": exponent(mine, lambda row: row.make.cpu_seconds),
                "apply": exponent(mine, lambda row: row.apply.cpu_seconds),
            }
    return found


def table(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [
        f"{'input':10}{'effort':9}{'new MB':>8}{'delta MB':>10}{'make s':>9}{'CPU s':>8}{'s/100MB':>9}{'MB':>7}"
        f"{'apply s':>9}{'CPU s':>8}{'MB':>7}"
    ]
    for row in rows:
        make, apply, new = row.make, row.apply, row.new / 1e6
        lines.append(
            f"{row.what:10}{row.effort:9}{new:8.0f}{row.delta / 1e6:10.2f}{make.seconds:9.1f}{make.cpu_seconds:8.1f}"
            f"{100 * make.cpu_seconds / new:9.2f}{make.peak_bytes / 1e6:7.0f}{apply.seconds:9.1f}"
            f"{apply.cpu_seconds:8.1f}{apply.peak_bytes / 1e6:7.0f}"
        )
    for effort, one in exponents(rows).items():
        lines.append(f"{effort}: CPU grows with the size to the {one['make']:.2f} (make), {one['apply']:.2f} (apply)")
    return "\n".join(lines)
