"""Ordered, bounded fan-out of work that releases the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    discard: Callable[[Result], None] = lambda _: None,
) -> Iterator[Result]:
    """Yield work(item) for each item, in order; at most `ahead` items are in work or waiting to be taken.

    When the consumer stops early or a piece of work raises, what is under way is awaited and given to `discard`.
    """
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="ordered") as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(source, ahead))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    discard(future.result())
