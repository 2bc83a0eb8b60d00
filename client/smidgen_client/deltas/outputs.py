"""Applying a delta on this machine: sources from the opened inputs, results into a scratch file, then the output.

Nothing is at the output path before all of it was verified.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_client.deltas import commits, images
from smidgen_client.deltas.folders import is_folder
from smidgen_client.deltas.inputs import Input, open_regular
from smidgen_client.deltas.maps import Mapped, Place
from smidgen_client.deltas.threads import Threads
from smidgen_client.stores.extracting import extract_into, extract_tar, new_folder
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError, NotFound, StorageError, UsageError
from smidgen_deltas.native.delta import LEAD, Header, Root, check_frame, decode_header, decode_lead
from smidgen_deltas.native.tree import ContentRef, OstreeTree, TarTree, decode_any_tree
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import decode, rebuild

BLOCK: Final = 1 << 20


class Workspace:
    """The engine's store: reads old contents from the inputs, keeps rebuilt ones in one file, one behind the other."""

    def __init__(self, inputs: Sequence[Input], spool: BinaryIO) -> None:
        self._inputs = inputs
        self._documents = {
            _sha256(entry.tree.document): entry.tree.document for entry in inputs if entry.tree.document is not None
        }
        self._spool = spool
        self._places: dict[bytes, Place] = {}
        self._rebuilt = Mapped(spool, self._places)
        self._end = 0
        self._lock = threading.Lock()

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound with the digest when no input has it."""
        document = self._documents.get(content.sha256)
        if document is not None:
            return document
        for contents in (self._rebuilt, *(entry.contents for entry in self._inputs)):
            if contents.has(content.sha256):
                return contents.open(content)
        raise NotFound("a source of the delta is not in the old files", digest=content.sha256.hex(), size=content.size)

    @contextlib.contextmanager
    def create(self, content: ContentRef) -> Iterator[_Part]:
        with self._lock:
            place = Place(self._end, content.size)
            self._end += content.size
        yield _Part(self._spool.fileno(), place, content.sha256, self._places)

    def body(self, content: Content | ContentRef) -> Iterator[bytes]:
        """The bytes of a content, in blocks. Raises NotFound."""
        ref = ContentRef(content.sha256, content.size)
        for contents in (self._rebuilt, *(entry.contents for entry in self._inputs)):
            if isinstance(contents, Mapped) and contents.has(content.sha256):
                return contents.blocks(ref)
        return _pieces(self.open(ref))


class _Part:
    """A target being written; `finish` makes it known."""

    def __init__(self, handle: int, place: Place, sha256: bytes, places: dict[bytes, Place]) -> None:
        self._handle, self._place, self._sha256, self._places = handle, place, sha256, places
        self._at = place.start

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._handle, view, self._at)
            self._at += done
            view = view[done:]

    def finish(self) -> None:
        self._places[self._sha256] = self._place


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
    to_store = str(output).startswith((commits.KIND, images.KIND))
    parent = None if to_store else output.parent
    with _storage(output), contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=f".{output.name}.")))
        workspace = Workspace(inputs, stack.enter_context(tempfile.TemporaryFile(dir=folder)))
        header, applier = _rebuilt(delta, workspace, threads)
        if header.root is Root.FILE:
            return _place(workspace.body(applier.root), folder, output, to_store)
        tree = decode_any_tree(bytes(workspace.open(applier.root)))
        if isinstance(tree, TarTree):
            if is_folder(tree) and not to_store:
                return _extract(tree, workspace, folder, output)
            return _place(_tar(tree, workspace), folder, output, to_store)
        if isinstance(tree, OstreeTree):
            _check_store(output, commits.KIND, "a commit: -o ostree:REPO@REF")
            commits.write_commit(tree, workspace.body, str(output))
        else:
            _check_store(output, images.KIND, "an image: -o oci:DIR:TAG")
            images.write_image(tree, workspace.body, str(output))
        return sum(one.size for one in tree.contents)


def _check_store(output: Path, kind: str, makes: str) -> None:
    if not str(output).startswith(kind):
        raise UsageError(f"the delta makes {makes}", output=str(output))


def _place(blocks: Iterable[Buffer], folder: Path, output: Path, to_store: bool) -> int:  # noqa: FBT001
    if to_store:
        raise UsageError("the delta makes a file", output=str(output))
    check_output(output)
    result = folder / "result"
    size = _write(result, blocks)
    result.rename(output)
    return size


def _extract(tree: TarTree, workspace: Workspace, folder: Path, output: Path) -> int:
    check_folder(output)
    result = folder / "result"
    extract_into(result, entries(decode(tree.recipe, tree.contents)), workspace.body)
    result.rename(output)
    return tree.tar_size


def _rebuilt(delta: Path, workspace: Workspace, threads: Threads) -> tuple[Header, Applier]:
    """All targets of a delta, verified, are in the workspace."""
    with open_regular(delta) as file:
        header = read_header(file)
        applier = Applier(header, workspace)
        with threads.rebuild(applier):
            for frame in header.frames:
                applier.frame(file.read(frame.size))
        _check_end(file)
    return header, applier


def _check_end(file: BinaryIO) -> None:
    if file.read(1):
        raise FormatError("delta is followed by other bytes")


def verify_file(delta: Path, inputs: Sequence[Input], threads: Threads) -> int:
    """Check a delta: its frames by itself, all that it rebuilds when old files are given; bytes that were checked.

    Raises FormatError, IntegrityError, NotFound.
    """
    if inputs:
        with _storage(delta), tempfile.TemporaryFile() as spool:
            header, _ = _rebuilt(delta, Workspace(inputs, spool), threads)
            return header.output
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


def _tar(tree: TarTree, workspace: Workspace) -> Iterable[Buffer]:
    return rebuild(decode(tree.recipe, tree.contents), workspace.body, Digest.from_raw(tree.sha256))


def _pieces(data: Buffer) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    for start in range(0, len(data), BLOCK):
        yield bytes(data[start : start + BLOCK])


def _write(path: Path, blocks: Iterable[Buffer]) -> int:
    with path.open("wb", buffering=BLOCK) as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _sha256(data: bytes) -> bytes:
    return Digest.of(data).raw


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("cannot write", path=str(error.filename or path), reason=error.strerror) from error
