"""Targets that are rebuilt at the same time: in what order they end for the caller, and what memory they share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Final

AHEAD: Final = 8  # targets in work or waiting for a worker


class Room:
    """Memory beside that of the largest target in work, which the declared bound of a delta has already.

    Whoever needs more than is left waits. One target alone always goes on, however large.
    """

    def __init__(self, spare: int) -> None:
        self.spare = max(spare, 0)
        self._held: list[int] = []
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """For as long as `size` bytes are in use. A thread that holds some must not ask for more."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(size))
            self._held.append(size)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(size)
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return sum(self._held) + size - max(size, *self._held, 0) <= self.spare


class Work:
    """Targets in work, by number. Errors come out in the order of targets, as if one were rebuilt after the other.

    Without an executor each is rebuilt at once.

    Args:
        spare: bytes that targets may take beside the largest of them.
    """

    def __init__(self, executor: Executor | None = None, spare: int = 0) -> None:
        self._executor = executor
        self._room = Room(spare)
        self._futures: deque[tuple[int, Future[None]]] = deque()

    @property
    def several(self) -> bool:
        return self._executor is not None

    def run(self, number: int, needs: int, job: Callable[[], None], *, long: bool = True) -> None:
        """Rebuild a target, which takes `needs` bytes of memory. What it raises comes from this or a later call.

        long: whether it is worth a thread of its own; others are rebuilt at once, while threads do the long ones.
        """
        if self._executor is None:
            job()
            return
        if not long:
            self._held(needs, job)
            return
        self._futures.append((number, self._executor.submit(self._held, needs, job)))
        while len(self._futures) > AHEAD:
            self._first()

    def _held(self, needs: int, job: Callable[[], None]) -> None:
        with self._room.hold(needs):
            job()

    def wait(self, numbers: frozenset[int] | None = None) -> None:
        """Until these targets are finished, or all."""
        latest = None if numbers is None else max(numbers, default=-1)
        while self._futures and (latest is None or self._futures[0][0] <= latest):
            self._first()

    @contextmanager
    def beside(self, needs: int) -> Iterator[None]:
        """Something that takes `needs` bytes, beside targets in work if there is room. They are finished at its end."""
        if needs > self._room.spare:
            self.wait()
        with self._room.hold(needs):
            yield
            self.wait()

    def settle(self) -> None:
        """Nothing is in work any more. Raises the first error."""
        found = None
        while self._futures:
            error = self._futures.popleft()[1].exception()
            found = found or error
        if found is not None:
            raise found

    def _first(self) -> None:
        self._futures.popleft()[1].result()
