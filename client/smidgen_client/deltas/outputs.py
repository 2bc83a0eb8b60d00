"""Applying a delta on this machine: sources from the opened inputs, results beside the output, then in its place.

Nothing is at the output path before all of it was verified.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_client.deltas import commits, images
from smidgen_client.deltas.folders import is_folder
from smidgen_client.deltas.inputs import Input, open_regular
from smidgen_client.deltas.threads import Threads
from smidgen_client.deltas.workspace import Workspace
from smidgen_client.stores.extracting import extract_into, extract_tar, new_folder
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.errors import FormatError, StorageError, UsageError
from smidgen_deltas.native.delta import LEAD, Header, Root, check_frame, decode_header, decode_lead
from smidgen_deltas.native.tree import OciTree, OstreeTree, TarTree, decode_any_tree
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.recipe import EncodedRecipe, decode

BLOCK: Final = 1 << 20


def read_header(file: BinaryIO) -> Header:
    """The header of a delta; the file stands at its first frame afterwards. Raises FormatError."""
    head = file.read(LEAD)
    lead = decode_lead(head)
    file.seek(lead.start)
    stored = file.read(lead.size)
    return decode_header(lead, stored)


def apply_file(delta: Path, inputs: Sequence[Input], output: Path, threads: Threads) -> int:
    """Rebuild `output` from a delta and the opened inputs; returns its size in bytes, of stores that of their contents.

    A delta to a folder makes a folder; nothing, or an empty one, may be at `output`. A delta to a commit goes to
    `ostree:REPO@REF`, one to an image to `oci:DIR:TAG`.
    Raises FormatError, IntegrityError, NotFound, UsageError; `output` is untouched then.
    """
    with _storage(output), contextlib.ExitStack() as stack:
        result = _Output(output, inputs, stack)
        _rebuild(delta, result.workspace, threads, result.begin)
        return result.finish()


class _Output:
    """What a delta makes, in a folder of its own beside the output until it is complete and proven."""

    def __init__(self, output: Path, inputs: Sequence[Input], stack: contextlib.ExitStack) -> None:
        self._output, self._stack = output, stack
        self._to_store = str(output).startswith((commits.KIND, images.KIND))
        parent = None if self._to_store else output.parent
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=f".{output.name}.")))
        self._targets = self._open("targets")
        self._tree: OstreeTree | OciTree | TarTree | None = None
        self._tar: tuple[EncodedRecipe, BinaryIO] | None = None
        self.workspace = Workspace(inputs, self._targets)

    def _open(self, name: str) -> BinaryIO:
        return self._stack.enter_context((self._folder / name).open("w+b", buffering=BLOCK))

    def begin(self, header: Header, applier: Applier) -> None:
        """The root is there. Raises UsageError when the output is not of its kind, FormatError."""
        if header.root is Root.TREE:
            tree = decode_any_tree(bytes(self.workspace.open(applier.root)))
            self._tree = replace(tree, contents=applier.contents)  # the same ones, held once
        if isinstance(self._tree, OstreeTree):
            _check_store(self._output, commits.KIND, "a commit: -o ostree:REPO@REF")
        elif isinstance(self._tree, OciTree):
            _check_store(self._output, images.KIND, "an image: -o oci:DIR:TAG")
        elif self._to_store:
            raise UsageError("the delta makes a file", output=str(self._output))
        elif self._tree is None:
            check_output(self._output)
        else:
            self._begin_tar(self._tree, {target.index for target in header.targets if target.sha256 is None})

    def _begin_tar(self, tree: TarTree, targets: Set[int]) -> None:
        recipe = decode(tree.recipe, tree.contents)
        if is_folder(recipe):
            check_folder(self._output)
            return
        check_output(self._output)
        self._tar = recipe, self._open("tar")
        self.workspace.lay_out(*self._tar, targets)

    def finish(self) -> int:
        """All targets are there. Returns what `apply_file` does."""
        workspace, tree = self.workspace, self._tree
        if isinstance(tree, OstreeTree):
            commits.write_commit(tree, workspace.body, str(self._output))
        elif isinstance(tree, OciTree):
            images.write_image(tree, workspace.body, str(self._output))
        elif tree is None:  # the only target
            return self._place(self._targets)
        elif self._tar is None:
            folder = self._folder / "result"
            extract_into(folder, entries(decode(tree.recipe, tree.contents)), workspace.body)
            folder.rename(self._output)
            return tree.tar_size
        else:
            workspace.complete(*self._tar, Digest.from_raw(tree.sha256))
            return self._place(self._tar[1])
        return sum(one.size for one in tree.contents)

    def _place(self, file: BinaryIO) -> int:
        """Give a complete file its name."""
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).rename(self._output)
        return os.fstat(file.fileno()).st_size


def _check_store(output: Path, kind: str, makes: str) -> None:
    if not str(output).startswith(kind):
        raise UsageError(f"the delta makes {makes}", output=str(output))


def _rebuild(
    delta: Path, workspace: Workspace, threads: Threads, begin: Callable[[Header, Applier], None] | None = None
) -> Header:
    """All targets of a delta, verified, are in the workspace afterwards. `begin` is told when the root is there."""
    with open_regular(delta) as file:
        header = read_header(file)
        applier = Applier(header, workspace)
        with threads.rebuild(applier):
            for frame in header.frames:
                applier.frame(file.read(frame.size))
                if begin and workspace.has(applier.root):
                    begin(header, applier)
                    begin = None
        _check_end(file)
    return header


def _check_end(file: BinaryIO) -> None:
    if file.read(1):
        raise FormatError("delta is followed by other bytes")


def verify_file(delta: Path, inputs: Sequence[Input], threads: Threads) -> int:
    """Check a delta: its frames by itself, all that it rebuilds when old files are given; bytes that were checked.

    Raises FormatError, IntegrityError, NotFound.
    """
    if inputs:
        with _storage(delta), tempfile.TemporaryFile() as spool:
            return _rebuild(delta, Workspace(inputs, spool), threads).output
    with open_regular(delta) as file:
        header = read_header(file)
        for frame in header.frames:
            check_frame(frame, file.read(frame.size))
        _check_end(file)
    return delta.stat().st_size


@contextlib.contextmanager
def replacing(output: Path) -> Iterator[BinaryIO]:
    """A file beside `output` that takes its place at the end if nothing goes wrong. Raises UsageError, StorageError."""
    check_output(output)
    with _storage(output), contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}."))
        part = Path(folder) / output.name
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.rename(output)


@contextlib.contextmanager
def extracting(output: Path) -> Iterator[BinaryIO]:
    """A file for a tar, which is extracted to the new folder `output` at the end if nothing goes wrong.

    Raises UsageError, StorageError, and what reading a tar raises.
    """
    check_folder(output)
    with _storage(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        with (Path(folder) / "tar").open("w+b") as tar:
            yield tar
            result = Path(folder) / "result"
            handle = new_folder(result)
            try:
                extract_tar(handle, lambda: contextlib.nullcontext(blocks(tar)))
            finally:
                os.close(handle)
        result.rename(output)


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """All of a file, from its start."""
    file.seek(0)
    return iter(lambda: file.read(BLOCK), b"")


def check_output(path: Path) -> None:
    """Raise UsageError when something other than a file is at `path`: it would be replaced, not written to."""
    if path.exists() and not path.is_file():
        raise UsageError("the output is something other than a file", path=str(path))


def check_folder(path: Path) -> None:
    """Raise UsageError unless a new folder may take this name."""
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise UsageError("the delta makes a folder, and something is there", path=str(path))


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("cannot write", path=str(error.filename or path), reason=error.strerror) from error
