"""Tools for trees: they get tars and unpack or commit them first, outside of what is measured."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from smidgen_benchmarks.measure import Usage, run, size


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

    def missing(self) -> str | None:
        return None if shutil.which("ostree") else "ostree not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        repo = delta.with_name(delta.name + ".repo")
        shutil.rmtree(repo, ignore_errors=True)
        run(["ostree", "init", f"--repo={repo}", "--mode=archive"])
        commit_tar(repo, "old", old)
        commit_tar(repo, "new", new)
        usage = run(["ostree", "static-delta", "generate", f"--repo={repo}", "--from=old", "--to=new"])
        run(["ostree", "summary", f"--repo={repo}", "-u"])
        delta.write_text(str(size(repo / "deltas") + self._fallbacks(repo)))
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:  # noqa: ARG002 - the old commit is in the repository
        """Pull over file:// into a repository that has the old commit; the proof is ostree's own checksums."""
        repo, device = delta.with_name(delta.name + ".repo"), out.with_name(out.name + ".device")
        shutil.rmtree(device, ignore_errors=True)
        run(["ostree", "init", f"--repo={device}", "--mode=bare-user"])
        run(["ostree", "pull-local", f"--repo={device}", repo, "old"])
        run(["ostree", "remote", "add", f"--repo={device}", "--no-gpg-verify", "server", repo.as_uri()])
        usage = run(["ostree", "pull", f"--repo={device}", "--require-static-deltas", "server", "new"])
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
