"""The methods that are compared: ours, and every public tool that is on the machine.

A peer makes a delta from an old and a new file and rebuilds the new one; `apply` leaves a file whose digest the harness
compares. Tools for trees get tars and unpack them first, outside of what is measured.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from smidgen_benchmarks.measure import Usage, run, size

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


@dataclass(frozen=True, slots=True)
class TarDiff:
    """tar-diff and tar-patch (containers/tar-diff); the applier reads the unpacked old tree."""

    level: int = 19
    trees_only: bool = True

    @property
    def name(self) -> str:
        return f"tar-diff -{self.level}"

    def missing(self) -> str | None:
        absent = [program for program in ("tar-diff", "tar-patch") if shutil.which(program) is None]
        return f"{', '.join(absent)} not on the PATH" if absent else None

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        return run(["tar-diff", f"-compression-level={self.level}", old, new, delta])

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:
        tree = unpacked(old)
        return run(["tar-patch", delta, tree, out])

    def cost(self, delta: Path) -> int:
        return size(delta)


@dataclass(frozen=True, slots=True)
class OstreeStaticDelta:
    """`ostree static-delta generate` with its defaults; the cost counts the delta and its fallback objects."""

    name: str = "ostree static-delta"
    trees_only: bool = True
    commits: dict[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        return None if shutil.which("ostree") else "ostree not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        repo = delta.with_name(delta.name + ".repo")
        shutil.rmtree(repo, ignore_errors=True)
        run(["ostree", "init", f"--repo={repo}", "--mode=archive"])
        for ref, tar in (("old", old), ("new", new)):
            run(
                [
                    "ostree",
                    "commit",
                    f"--repo={repo}",
                    f"--branch={ref}",
                    f"--tree=tar={tar}",
                    "--tar-autocreate-parents",
                ]
            )
        usage = run(["ostree", "static-delta", "generate", f"--repo={repo}", "--from=old", "--to=new"])
        delta.write_text(str(size(repo / "deltas") + self._fallbacks(repo)))
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:  # noqa: ARG002 - the old commit is in the repository
        """Pull over file:// into a repository that has the old commit; the proof is ostree's own checksums."""
        repo, device = delta.with_name(delta.name + ".repo"), out.with_name(out.name + ".device")
        shutil.rmtree(device, ignore_errors=True)
        run(["ostree", "init", f"--repo={device}", "--mode=bare-user"])
        run(["ostree", "pull-local", f"--repo={device}", repo, "old"])
        usage = run(["ostree", "pull-local", f"--repo={device}", "--require-static-deltas", repo, "new"])
        run(["ostree", "fsck", f"--repo={device}"])
        shutil.rmtree(device)
        return usage

    def cost(self, delta: Path) -> int:
        return int(delta.read_text())

    @staticmethod
    def _fallbacks(repo: Path) -> int:
        shown = subprocess.run(
            ["ostree", "static-delta", "list", f"--repo={repo}"], capture_output=True, text=True, check=True
        ).stdout.split()
        text = subprocess.run(
            ["ostree", "static-delta", "show", f"--repo={repo}", shown[0]], capture_output=True, text=True, check=True
        ).stdout
        for line in text.splitlines():
            if line.startswith("Total Fallback Size:"):
                return int(line.split(":")[1].split()[0])
        return 0


@dataclass(frozen=True, slots=True)
class Zchunk:
    """zck: chunks of the new file that the old one has not; no patch file, so the cost is what it would fetch."""

    name: str = "zchunk"
    trees_only: bool = False

    def missing(self) -> str | None:
        return None if shutil.which("zck") and shutil.which("zck_delta_size") else "zchunk not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        before, after = delta.with_name(delta.name + ".old.zck"), delta.with_name(delta.name + ".new.zck")
        run(["zck", old, "-o", before])
        usage = run(["zck", new, "-o", after])
        run(["zck_delta_size", before, after], stdout=delta)
        before.unlink()
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:  # noqa: ARG002 - reuses chunks only over HTTP
        return run(["unzck", "-c", delta.with_name(delta.name + ".new.zck")], stdout=out)

    def cost(self, delta: Path) -> int:
        """`Would download X of Y bytes` is what the tool prints."""
        words = delta.read_text().replace(",", "").split()
        return int(words[words.index("download") + 1])


@dataclass(frozen=True, slots=True)
class Casync:
    """casync: chunks of the new file that the old one's store has not, and the index."""

    name: str = "casync"
    trees_only: bool = False

    def missing(self) -> str | None:
        return None if shutil.which("casync") else "casync not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        store = delta.with_name(delta.name + ".castr")
        shutil.rmtree(store, ignore_errors=True)
        run(["casync", "make", f"--store={store}", delta.with_name(delta.name + ".old.caibx"), old])
        before = size(store)
        usage = run(["casync", "make", f"--store={store}", delta.with_name(delta.name + ".caibx"), new])
        index = delta.with_name(delta.name + ".caibx").stat().st_size
        delta.write_text(str(size(store) - before + index))
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:
        store = delta.with_name(delta.name + ".castr")
        index = delta.with_name(delta.name + ".caibx")
        usage = run(["casync", "extract", f"--store={store}", f"--seed={old}", index, out])
        shutil.rmtree(store)
        return usage

    def cost(self, delta: Path) -> int:
        return int(delta.read_text())


def commit_tar(repo: Path, ref: str, tar: Path, *bindings: str) -> None:
    """Commit a tree with stock ostree; by way of a folder, since it refuses tars with device nodes.

    Args:
        bindings: refs under which clients may fetch the commit beside `ref`.
    """
    binding = [f"--bind-ref={name}" for name in bindings]
    run(["ostree", "commit", f"--repo={repo}", f"--branch={ref}", *binding, f"--tree=dir={unpacked(tar)}"])


def unpacked(tar: Path) -> Path:
    """The tree of a tar, unpacked beside it once."""
    tree = tar.with_name(tar.name + ".tree")
    if not tree.exists():
        part = tar.with_name(tar.name + ".tree.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        run(["tar", "-xf", tar, "-C", part, "--exclude=./dev/*"])
        part.rename(tree)
    return tree


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
)
