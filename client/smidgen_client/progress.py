"""What a long command says while it works: a protocol and its three voices.

Plain lines for logs, JSON lines for programs, a bar where standard output is a terminal and the `ui` extra is there.
All of them may be called from several threads.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TextIO

PLAIN_SECONDS: Final = 5.0
JSON_SECONDS: Final = 0.5
BYTES: Final = "bytes"


class Progress(Protocol):
    """Told what happens."""

    def say(self, text: str, **facts: Any) -> None:
        """Something worth a line, once."""

    def begin(self, what: str, total: int, unit: str = BYTES) -> None:
        """`unit`s will be counted up to `total` from now on."""

    def advance(self, count: int) -> None: ...

    def end(self) -> None:
        """The counting is over."""


class Silent:
    """Says nothing."""

    def say(self, text: str, **facts: Any) -> None: ...

    def begin(self, what: str, total: int, unit: str = BYTES) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


class _Counting:
    """Counts, and speaks at most every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._what, self._total, self._unit, self._done, self._spoken = "", 0, BYTES, 0, 0.0

    def begin(self, what: str, total: int, unit: str = BYTES) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._spoken = 0, time.monotonic()

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() - self._spoken < self._seconds:
                return
            self._spoken = time.monotonic()
            self.speak()

    def end(self) -> None:
        with self._lock:
            self.speak()

    def speak(self) -> None:
        raise NotImplementedError


class Lines(_Counting):
    """Plain lines on a stream, by default standard error."""

    def __init__(self, stream: TextIO | None = None, seconds: float = PLAIN_SECONDS) -> None:
        super().__init__(seconds)
        self._stream = stream or sys.stderr

    def say(self, text: str, **facts: Any) -> None:  # noqa: ARG002 - the facts are for programs
        print(text, file=self._stream, flush=True)

    def speak(self) -> None:
        share = f" of {self._shown(self._total)} ({100 * self._done // self._total} %)" if self._total else ""
        print(f"{self._what}: {self._shown(self._done)}{share}", file=self._stream, flush=True)

    def _shown(self, count: int) -> str:
        return human(count) if self._unit == BYTES else f"{count} {self._unit}"


class JsonLines(_Counting):
    """One JSON object per line on standard output; the command's result comes last."""

    def __init__(self, stream: TextIO | None = None, seconds: float = JSON_SECONDS) -> None:
        super().__init__(seconds)
        self._stream = stream or sys.stdout

    def say(self, text: str, **facts: Any) -> None:
        self._print({"event": "note", "text": text, **facts})

    def speak(self) -> None:
        self._print(
            {"event": "progress", "what": self._what, "done": self._done, "total": self._total, "unit": self._unit}
        )

    def _print(self, value: dict[str, Any]) -> None:
        print(json.dumps(value, default=str), file=self._stream, flush=True)


@contextmanager
def open_progress(*, as_json: bool, quiet: bool) -> Iterator[Progress]:
    """The voice that fits: JSON when asked for, a bar on a terminal, else lines."""
    if quiet:
        yield Silent()
    elif as_json:
        yield JsonLines()
    elif sys.stdout.isatty() and (bar := _bar()) is not None:
        with bar as shown:
            yield shown
    else:
        yield Lines()


def _bar() -> Any:
    try:
        from smidgen_client.bar import Bar
    except ModuleNotFoundError:
        return None
    return Bar()


def human(count: int) -> str:
    """Bytes for people: 1.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
