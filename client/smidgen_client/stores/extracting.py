"""Writing entries into a folder that is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from smidgen_deltas.errors import UsageError
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.extract import extract
from smidgen_deltas.tar.pieces import Content

Opener = Callable[[Content], Iterator[bytes]]


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
