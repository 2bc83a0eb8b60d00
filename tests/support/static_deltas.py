"""Two small trees between which all ways of a static delta occur, committed by stock ostree."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter
from smidgen_deltas.ostree.static.apply import apply_delta
from smidgen_deltas.ostree.static.files import DeltaFiles
from smidgen_deltas.ostree.static.limits import MAX_PAYLOAD
from smidgen_deltas.ostree.static.make import MadeDelta, make_delta
from support.ostree import ostree

BRANCH = "os"
Commits = tuple[Path, bytes, bytes]  # a repository, the old and the new commit
NOISE = 4_490_000  # bytes that are new and cannot be compressed


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def text(seed: int, lines: int) -> bytes:
    words = random.Random(seed)
    return b"".join(b"%d the quick brown fox %d\n" % (number, words.randrange(99)) for number in range(lines))


def trees(folder: Path) -> tuple[Path, Path]:
    """Old and new.

    A renamed version folder, a file put together of two, one that only changed its mode, a packed one that a large one
    holds, symlinks, empty files.
    """
    old, new = folder / "old", folder / "new"
    program, other = noise(1, 60_000), text(2, 1500)
    write(old, "lib/modules-1.0/driver.bin", program)
    write(new, "lib/modules-1.1/driver.bin", program[:20_000] + b"patched" + program[20_000:59_000])
    write(old, "share/one.txt", other)
    write(old, "share/two.txt", text(3, 1500))
    write(new, "share/one.txt", other + b"more\n")
    write(new, "share/joined.txt", other[:20_000] + text(3, 1500)[-20_000:])
    for root, mode in ((old, 0o644), (new, 0o755)):
        write(root, "bin/tool", noise(4, 9000)).chmod(mode)
        write(root, "etc/same", b"the same in both")
        write(root, "etc/empty", b"")
    write(new, "etc/nothing", b"")
    packed = noise(5, 90_000)
    write(new, "share/packed.gz", packed)
    write(new, "share/holder.gz", noise(6, 400_000) + packed + noise(7, 4_000_000))
    (old / "link").symlink_to("bin/tool")
    (new / "link").symlink_to("bin/tööl")
    return old, new


def write(root: Path, path: str, data: bytes) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def committed(folder: Path, mode: str = "archive") -> Commits:
    """A repository with both trees: its path, the old and the new commit."""
    repo = folder / "repo"
    ostree(repo, "init", f"--mode={mode}")
    found = []
    for tree in trees(folder):
        found.append(
            bytes.fromhex(ostree(repo, "commit", f"--branch={BRANCH}", f"--tree=dir={tree}", "-s", "x").strip())
        )
    return repo, found[0], found[1]


def made(repo: Path, source: bytes | None, target: bytes, longest: int = MAX_PAYLOAD) -> MadeDelta:
    with ThreadPoolExecutor(2) as executor:
        return make_delta(Repository.open(repo), source, target, executor, longest=longest)


def apply(delta: Path, repo: Path) -> bytes:
    """Apply a delta with our reader, into a repository that is made if need be; the commit."""
    files = DeltaFiles.open(delta)
    with RepositoryWriter.open_or_create(repo).transaction() as transaction:
        applied = apply_delta(files.superblock, files.part, transaction)
        transaction.set_ref("applied", applied.commit)
        transaction.commit()
    return applied.commit


def holding(folder: Path, origin: Path, commit: bytes | None, mode: str = "bare-user") -> Path:
    """A new repository with one commit of `origin`, or none."""
    repo = folder / "device"
    ostree(repo, "init", f"--mode={mode}")
    if commit is not None:
        ostree(repo, "pull-local", str(origin), commit.hex())
    return repo
