"""A progress bar with rich; imported only on a terminal and only when the `ui` extra is installed."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress


class Bar:
    """See progress.Progress."""

    def __init__(self) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(),
        )
        self._task: Any = None

    def __enter__(self) -> Bar:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def say(self, text: str, **facts: Any) -> None:  # noqa: ARG002 - the facts are for programs
        self._rich.console.print(text, markup=False, highlight=False)

    def begin(self, what: str, total: int) -> None:
        self._task = self._rich.add_task(what, total=total)

    def advance(self, count: int) -> None:
        self._rich.advance(self._task, count)

    def end(self) -> None:
        self._rich.remove_task(self._task)
