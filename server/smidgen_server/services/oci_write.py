"""Writing transactions of the registry, safe against the garbage collector.

A row that a transaction refers to (a blob, a manifest) may be deleted by another one between two of its statements.
The first one then finds no row or is refused with an IntegrityError, and running it again finds the new state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import Session

from smidgen_server.index.base import Index

ATTEMPTS: Final = 5

T = TypeVar("T")


def writing(index: Index, work: Callable[[Session], T]) -> T:
    """Run `work` in a writing transaction, again if what it refers to was deleted meanwhile."""
    for _ in range(ATTEMPTS - 1):
        try:
            with index.session() as session:
                return work(session)
        except (IntegrityError, NoResultFound):
            continue
    with index.session() as session:
        return work(session)


def now() -> int:
    """UTC seconds."""
    return int(time.time())
