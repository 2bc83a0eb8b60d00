"""The methods that are compared: ours, and every public tool that is on the machine.

A peer makes a delta from an old and a new file and rebuilds the new one; `apply` leaves a file whose digest the harness
compares. Tools for trees get tars and unpack them first, outside of what is measured.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from smidgen_benchmarks.chunk_peers import Casync, Zchunk, Zsync
from smidgen_benchmarks.measure import Usage, run, size
from smidgen_benchmarks.tree_peers import OstreeStaticDelta, TarDiff

SMIDGEN: Final = (sys.executable, "-m", "smidgen_client")


class Peer(Protocol):
    """One way to get from old to new."""

    @property
    def name(self) -> str: ...

    @property
    def trees_only(self) -> bool: ...

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""

    def make(self, old: Path, new: Path, delta: Path) -> Usage: ...

    def apply(self, old: Path, delta: Path, out: Path) -> Usage: ...

    def cost(self, delta: Path) -> int:
        """Bytes on the wire."""


Words = Callable[[Path, Path, Path], Sequence[str | Path]]


@dataclass(frozen=True, slots=True)
class Command:
    """A tool that is two command lines.

    Args:
        maker: (old, new, delta) -> words; applier: (old, delta, out) -> words. A word "|delta" or "|out" at the end
            means that the tool writes that file to its standard output.
        needs: programs that must be on the PATH; module: a Python module that must be there instead.
    """

    name: str
    maker: Words
    applier: Words
    needs: tuple[str, ...] = ()
    module: str | None = None
    trees_only: bool = False

    def missing(self) -> str | None:
        absent = [program for program in self.needs if shutil.which(program) is None]
        if absent:
            return f"{', '.join(absent)} not on the PATH"
        if self.module and importlib.util.find_spec(self.module) is None:
            return f"Python module {self.module} not installed"
        return None

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        return _run(self.maker(old, new, delta), delta)

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:
        return _run(self.applier(old, delta, out), out)

    def cost(self, delta: Path) -> int:
        return size(delta)


def _run(words: Sequence[str | Path], result: Path) -> Usage:
    if words[-1] == "|":
        return run(words[:-1], stdout=result)
    return run(words)


def _smidgen(effort: str) -> Command:
    return Command(
        f"smidgen {effort}",
        lambda old, new, delta: [*SMIDGEN, "delta", "make", old, new, "-o", delta, "--effort", effort],
        lambda old, delta, out: [*SMIDGEN, "delta", "apply", delta, "--from", old, "-o", out],
    )


def _full(name: str, *packer: str) -> Command:
    """A compressor that ignores the old version."""
    unpacker = [packer[0], "-dc"] + (["--long=27"] if packer[0] == "zstd" else [])
    return Command(
        name,
        lambda _old, new, _delta: [*packer, "-c", new, "|"],
        lambda _old, delta, _out: [*unpacker, delta, "|"],
        needs=(packer[0],),
    )


def _module(name: str, action: str) -> Words:
    """A method that is a module of ours around a library or program."""
    return lambda one, two, three: [sys.executable, "-m", f"smidgen_benchmarks.{name}", action, one, two, three]


PEERS: Final[tuple[Peer, ...]] = (
    _smidgen("fast"),
    _smidgen("default"),
    _smidgen("best"),
    _full("gzip full", "gzip", "-9"),
    _full("xz full", "xz", "-9e", "-T1"),
    _full("zstd -19 full", "zstd", "-19", "--long=27", "-q"),
    Command(
        "zstd --patch-from",
        lambda old, new, delta: ["zstd", "-19", "--long=31", f"--patch-from={old}", "-q", "-f", new, "-o", delta],
        lambda old, delta, out: ["zstd", "-d", "--long=31", f"--patch-from={old}", "-q", "-f", delta, "-o", out],
        needs=("zstd",),
    ),
    Command(
        "xdelta3 -9",
        lambda old, new, delta: ["xdelta3", "-9", "-B", "1073741824", "-f", "-e", "-s", old, new, delta],
        lambda old, delta, out: ["xdelta3", "-B", "1073741824", "-f", "-d", "-s", old, delta, out],
        needs=("xdelta3",),
    ),
    Command(
        "bsdiff",
        lambda old, new, delta: ["bsdiff", old, new, delta],
        lambda old, delta, out: ["bspatch", old, out, delta],
        needs=("bsdiff", "bspatch"),
    ),
    Command("bsdiff+xz", _module("bsdiff_xz", "diff"), _module("bsdiff_xz", "patch"), needs=("bsdiff", "bspatch")),
    Command("hdiffpatch lzma2", _module("hdiff", "diff"), _module("hdiff", "patch"), module="hdiffpatch"),
    TarDiff(),
    OstreeStaticDelta(),
    Zchunk(),
    Casync(),
    Zsync(),
)
