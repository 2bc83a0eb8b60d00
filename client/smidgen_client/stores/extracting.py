"""Writing entries, or a tar, into a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from smidgen_deltas.errors import UsageError
from smidgen_deltas.tar.entries import Entry, entry_of
from smidgen_deltas.tar.extract import Options, extract
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.recipe import Splitter

Opener = Callable[[Content], Iterator[bytes]]
TarOpener = Callable[[], AbstractContextManager[Iterator[bytes]]]


def new_folder(folder: Path) -> int:
    """Make a folder (an empty one may be there) and return a handle of it. Raises UsageError."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError("the folder is not empty", path=str(folder))
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def extract_into(folder: Path, entries: Iterable[Entry], open_content: Opener) -> int:
    """Make all entries below a new folder; returns how many. What is written is verified."""
    handle = new_folder(folder)
    try:
        report = extract(handle, entries, open_content)
    finally:
        os.close(handle)
    return report.made.total()


def extract_tar(handle: int, read: TarOpener, options: Options | None = None) -> int:
    """Make all members of an uncompressed tar below a folder; returns how many.

    Args:
        read: opens the tar, in blocks; called once for the digests, once more for the bytes.
    """
    with read() as blocks:
        contents = iter([piece for piece in Splitter(blocks, _unwanted) if isinstance(piece, Content)])
    with read() as blocks:
        source = _Members(TarReader(blocks), contents)
        return extract(handle, source, source.open, options).made.total()


def _unwanted(member: Member, size: int) -> None:  # noqa: ARG001 - a tar sink
    return None


class _Members:
    """Entries of a tar that is read a second time, each with the content found the first time."""

    def __init__(self, reader: TarReader, contents: Iterator[Content]) -> None:
        self._reader, self._contents = reader, contents
        self._member: Member | None = None

    def __iter__(self) -> Iterator[Entry]:
        for member in self._reader:
            self._member = member
            yield entry_of(member, next(self._contents) if member.stored else None)

    def open(self, content: Content) -> Iterator[bytes]:  # noqa: ARG002 - it is always the present member's
        assert self._member is not None
        return self._member.chunks()
