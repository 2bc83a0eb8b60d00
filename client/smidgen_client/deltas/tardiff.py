"""tar-diffs on the command line: between tars, in any compression, on this machine."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from smidgen_client.deltas.inputs import open_regular, open_tar
from smidgen_client.deltas.outputs import blocks, extracting, replacing
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import UsageError
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.tardiff.apply import Facts, apply_delta
from smidgen_deltas.tardiff.make import make_delta
from smidgen_deltas.tardiff.old_files import Folder, OpenFile
from smidgen_deltas.tardiff.operations import Add, Copy, Data, Dictionary, Open
from smidgen_deltas.tardiff.stream import read_operations, read_version
from smidgen_deltas.tardiff.verify import prove, tar_files

FOLDER: Final = "folder:"
LAYOUT: Final = "oci:"


def make_tardiff(old: Sequence[Path], new: Path, output: Path, executor: Executor) -> tuple[int, int]:
    """Make a tar-diff and prove it; bytes of the delta and of the uncompressed new tar.

    Args:
        old: layers, lowest first.
    Raises UsageError, NotFound, StorageError, FormatError, DeltaWrong; nothing is at `output` then.
    """
    with contextlib.ExitStack() as stack:
        olds = [_tar(path, stack) for path in old]
        target = _tar(new, stack)
        with replacing(output) as file, tempfile.TemporaryFile(dir=output.parent) as work:
            size = make_delta(olds, target, work, executor)
            prove(work, olds, target)
            work.seek(0)
            while block := work.read(1 << 20):
                file.write(block)
        return size, len(memoryview(target))


def apply_tardiff(delta: Path, old: Sequence[Path], output: str, expected: Digest | None = None) -> Facts:
    """Rebuild the uncompressed new tar.

    The format has no digest of the result: without `expected`, that the old files are the right ones is the caller's
    word.

    Args:
        old: the folder that the old version was extracted to, or its tars, lowest first.
        output: a file for the tar; `folder:DIR`, a new folder that it is extracted to; `oci:DIR`, an OCI layout that
            gets it as a blob.
        expected: digest of the tar, which images call its diff_id.
    Raises UsageError, NotFound, StorageError, FormatError, IntegrityError; nothing is at `output` then.
    """
    with contextlib.ExitStack() as stack:
        opener = _opener(old, stack)
        file = stack.enter_context(open_regular(delta))
        if output.startswith(FOLDER):
            tar = stack.enter_context(extracting(Path(output.removeprefix(FOLDER))))
        elif output.startswith(LAYOUT):
            tar = stack.enter_context(tempfile.TemporaryFile())
        else:
            tar = stack.enter_context(replacing(Path(output)))
        facts = apply_delta(file, opener, tar, expected)
        if output.startswith(LAYOUT) and facts.digest:
            LayoutWriter.open_or_create(output.removeprefix(LAYOUT)).put_blob(facts.digest, blocks(tar), facts.size)
        return facts


def show_tardiff(delta: Path) -> dict[str, Any]:
    """What a tar-diff holds, for people and programs. Raises NotFound, FormatError.

    literal, added, copied: bytes of the tar that come from the delta, from old files changed, from old files as they
    are; frames: of zstd inside, which only their old files tell more of.
    """
    sources: dict[bytes, None] = {}
    literal = added = copied = frames = 0
    with open_regular(delta) as file:
        version = read_version(file)
        file.seek(0)
        for _, operation in read_operations(file):
            match operation:
                case Open(path):
                    sources[path] = None
                case Data(data):
                    literal += len(data)
                case Add(data):
                    added += len(data)
                case Copy(size):
                    copied += size
                case Dictionary():
                    frames += 1
    return {
        "format": "tardiff",
        "version": version,
        "size": delta.stat().st_size,
        "literal": literal,
        "added": added,
        "copied": copied,
        "frames": frames,
        "sources": [path.decode(errors="replace") for path in sources],
    }


def _opener(old: Sequence[Path], stack: contextlib.ExitStack) -> OpenFile:
    if len(old) == 1 and old[0].is_dir():
        return stack.enter_context(Folder(old[0])).open
    return tar_files([_tar(path, stack) for path in old])


def _tar(path: Path, stack: contextlib.ExitStack) -> Buffer:
    file = open_tar(path, stack)
    if file is None:
        raise UsageError("a tar-diff is made of tars", given=str(path))
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
