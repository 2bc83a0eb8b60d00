"""Cutting long lists into what one statement takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from smidgen_server.index.base import CHUNK

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """Lists of at most `size` items, in order."""
    source = iter(items)
    while part := list(islice(source, size)):
        yield part
