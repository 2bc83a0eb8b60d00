"""Applying a delta on this machine: sources from the opened inputs, results into a scratch folder, then the output.

Nothing is at the output path before all of it was verified.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_client.deltas.folders import is_folder
from smidgen_client.deltas.inputs import Input, open_regular
from smidgen_client.stores.extracting import extract_into
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError, NotFound, StorageError, UsageError
from smidgen_deltas.native.delta import LEAD, Header, Root, check_frame, decode_header, decode_lead
from smidgen_deltas.native.tree import ContentRef, TarTree, decode_tar_tree
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import decode, rebuild

BLOCK: Final = 1 << 20


class Workspace:
    """The engine's store: reads old contents from the inputs, keeps rebuilt ones as files in a folder."""

    def __init__(self, inputs: Sequence[Input], folder: Path) -> None:
        self._inputs = inputs
        self._documents = {
            _sha256(entry.tree.document): entry.tree.document for entry in inputs if entry.tree.document is not None
        }
        self._folder = folder

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound with the digest when no input has it."""
        document = self._documents.get(content.sha256)
        if document is not None:
            return document
        path = self._path(content)
        if path.exists():
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if content.size else b""  # type: ignore[return-value]
        for entry in self._inputs:
            if entry.contents.has(content.sha256):
                return entry.contents.open(content)
        raise NotFound("a source of the delta is not in the old files", digest=content.sha256.hex(), size=content.size)

    @contextlib.contextmanager
    def create(self, content: ContentRef) -> Iterator[_Part]:
        path = self._path(content)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                writer = _Part(file, part, path)
                yield writer
        finally:
            part.unlink(missing_ok=True)

    def body(self, content: Content) -> Iterator[bytes]:
        """The bytes of a member, in blocks. Raises NotFound."""
        return _pieces(self.open(ContentRef(content.sha256, content.size)))

    def _path(self, content: ContentRef) -> Path:
        return self._folder / content.sha256.hex()


class _Part:
    """A target being written; `finish` gives it its name."""

    def __init__(self, file: BinaryIO, part: Path, path: Path) -> None:
        self._file = file
        self._part = part
        self._path = path

    def write(self, data: Buffer, /) -> object:
        return self._file.write(data)

    def finish(self) -> object:
        self._file.flush()
        return self._part.rename(self._path)


def read_header(file: BinaryIO) -> Header:
    """The header of a delta; the file stands at its first frame afterwards. Raises FormatError."""
    head = file.read(LEAD)
    lead = decode_lead(head)
    file.seek(lead.start)
    stored = file.read(lead.size)
    return decode_header(lead, stored)


def apply_file(delta: Path, inputs: Sequence[Input], output: Path) -> int:
    """Rebuild `output` from a delta and the opened inputs; returns its size in bytes.

    A delta to a folder makes a folder; nothing, or an empty one, may be at `output`.
    Raises FormatError, IntegrityError, NotFound, UsageError; `output` is untouched then.
    """
    with _storage(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        workspace = Workspace(inputs, Path(folder))
        header, applier = _rebuilt(delta, workspace)
        tree = None if header.root is Root.FILE else decode_tar_tree(bytes(workspace.open(applier.root)))
        result = Path(folder) / "result"
        if tree and is_folder(tree):
            check_folder(output)
            extract_into(result, entries(decode(tree.recipe, tree.contents)), workspace.body)
            size = tree.tar_size
        else:
            check_output(output)
            blocks = _tar(tree, workspace) if tree else _pieces(workspace.open(applier.root))
            size = _write(result, blocks)
        result.rename(output)
    return size


def _rebuilt(delta: Path, workspace: Workspace) -> tuple[Header, Applier]:
    """All targets of a delta, verified, are in the workspace."""
    with open_regular(delta) as file:
        header = read_header(file)
        applier = Applier(header, workspace)
        for frame in header.frames:
            applier.frame(file.read(frame.size))
        _check_end(file)
    return header, applier


def _check_end(file: BinaryIO) -> None:
    if file.read(1):
        raise FormatError("delta is followed by other bytes")


def verify_file(delta: Path, inputs: Sequence[Input]) -> int:
    """Check a delta: its frames by itself, all that it rebuilds when old files are given; bytes that were checked.

    Raises FormatError, IntegrityError, NotFound.
    """
    if inputs:
        with _storage(delta), tempfile.TemporaryDirectory() as folder:
            header, _ = _rebuilt(delta, Workspace(inputs, Path(folder)))
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
    view = memoryview(data)
    for start in range(0, len(view), BLOCK):
        yield bytes(view[start : start + BLOCK])


def _write(path: Path, blocks: Iterable[Buffer]) -> int:
    with path.open("wb") as file:
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
