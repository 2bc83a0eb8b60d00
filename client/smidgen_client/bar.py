"""A progress bar with rich; imported only on a terminal and only when the `ui` extra is installed."""

from __future__ import annotations

import threading
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from smidgen_client.progress import BYTES, human


class Bar:
    """See progress.Progress."""

    def __init__(self) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
            console=Console(),
        )
        self._task: Any = None
        self._lock = threading.Lock()
        self._unit, self._total, self._done = BYTES, 0, 0

    def __enter__(self) -> Bar:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def say(self, text: str, **facts: Any) -> None:  # noqa: ARG002 - the facts are for programs
        self._rich.console.print(text, markup=False, highlight=False)

    def begin(self, what: str, total: int, unit: str = BYTES) -> None:
        self._unit, self._total, self._done = unit, total, 0
        self._task = self._rich.add_task(what, total=total or None, amount="")

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            done, total = (human(one) if self._unit == BYTES else str(one) for one in (self._done, self._total))
            self._rich.update(self._task, completed=self._done, amount=f"{done} of {total}" if self._total else done)

    def end(self) -> None:
        self._rich.remove_task(self._task)
