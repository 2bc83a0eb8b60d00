"""ostree static deltas on the command line: between commits of repositories on this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from smidgen_client.deltas.commits import KIND, Revision
from smidgen_client.deltas.outputs import replacing
from smidgen_deltas.errors import SmidgenError, UsageError
from smidgen_deltas.ostree.commitmeta import parse_ed25519_keys
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, storage
from smidgen_deltas.ostree.static.apply import apply_delta
from smidgen_deltas.ostree.static.describe import describe_delta
from smidgen_deltas.ostree.static.files import DeltaFiles
from smidgen_deltas.ostree.static.make import MadeDelta, make_delta

EMPTY: Final = "empty"


@dataclass(frozen=True, slots=True)
class Made:
    """A delta that was written. path: of the file, or of the folder below the repository's `deltas`."""

    path: Path
    size: int
    parts: int
    output: int


def make_static(old: str, new: str, output: str, executor: Executor) -> Made:
    """Make a static delta.

    Args:
        old: `ostree:REPO@REV`, or `empty` for a delta from nothing.
        new: `ostree:REPO@REV` of the same repository.
        output: a file, for everything in one; `ostree:REPO` for the folder where clients of REPO look for it (they do
            once the summary lists it).
    Raises UsageError, NotFound, StorageError, FormatError; nothing is at `output` then.
    """
    target = Revision.parse(new)
    source = None if old == EMPTY else Revision.parse(old)
    if source and source.repo.path.resolve() != target.repo.path.resolve():
        raise UsageError("both commits must be in one repository", old=old[:200], new=new[:200])
    commitmeta = target.repo.commitmeta(target.commit)
    made = make_delta(target.repo, source.commit if source else None, target.commit, executor, commitmeta)
    with contextlib.closing(made):
        path = _write(made, output)
        return Made(path, made.size, len(made.parts), sum(part.usize for part in made.superblock.parts))


def _write(made: MadeDelta, output: str) -> Path:
    if output.startswith(KIND):
        return _publish(made, Repository.open(output.removeprefix(KIND)).path)
    path = Path(output)
    with replacing(path) as file:
        file.write(made.single_file())
    return path


def _publish(made: MadeDelta, repo: Path) -> Path:
    """Put the delta where clients look: a folder that appears with everything in it."""
    folder = repo / made.superblock.name.folder
    with storage(folder), tempfile.TemporaryDirectory(dir=repo / "tmp", prefix="delta-") as scratch:
        staged = Path(scratch) / "new"
        staged.mkdir()
        made.write_folder(staged)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # the name says what it leads to; the older one does the same
            shutil.move(folder, Path(scratch) / "old")
        staged.rename(folder)
    return folder


def apply_static(delta: Path, repo: str, keys: Sequence[str] = ()) -> bytes:
    """Apply a static delta to a repository that has its source; the commit that is there afterwards.

    Args:
        repo: `ostree:REPO`.
        keys: of ed25519, as ostree writes them; when there are any, one of them must have signed the delta.
    Raises UsageError, NotFound, FormatError, IntegrityError; the repository holds nothing new then.
    """
    if not repo.startswith(KIND) or not repo.removeprefix(KIND):
        raise UsageError("a static delta is applied to a repository: ostree:REPO", given=repo[:200])
    files = _opened(delta, keys)
    writer = RepositoryWriter(Repository.open(repo.removeprefix(KIND)))
    with writer.transaction() as transaction:
        try:
            applied = apply_delta(files.superblock, files.part, transaction)
        except SmidgenError:
            transaction.discard()
            raise
        transaction.commit()
    return applied.commit


def _opened(delta: Path, keys: Sequence[str]) -> DeltaFiles:
    files = DeltaFiles.open(delta)
    if keys:
        files.verify(parse_ed25519_keys("\n".join(keys)))
    return files


def show_static(delta: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """What a static delta holds, for people and programs. Raises NotFound, FormatError, IntegrityError.

    keys: as for `apply_static`.
    """
    files = _opened(delta, keys)
    facts = asdict(describe_delta(files.superblock, len(files.data), files.part, len(files.signatures)))
    return {"format": "ostree", **facts}
