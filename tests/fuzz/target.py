"""What a fuzz target is, and how it reads its decisions from the bytes that it is given.

A target gets any bytes and either returns or raises a SmidgenError. Anything else is a finding: another exception (a
broken promise of the target is an AssertionError), a crash, a hang, or more memory than `run.py` allows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from smidgen_deltas.errors import SmidgenError

CORPUS: Final = Path(__file__).parent / "corpus"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """share: of the runs that all targets get; less than one for those that are slow."""

    name: str
    run: Callable[[bytes], None]
    share: float

    def once(self, data: bytes) -> None:
        """Raises what is a finding."""
        with contextlib.suppress(SmidgenError):
            self.run(data)


TARGETS: Final[dict[str, Target]] = {}


def target(name: str, share: float = 1.0) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Enter a function into TARGETS."""

    def enter(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[name] = Target(name, run, share)
        return run

    return enter


class Choices:
    """Decisions taken from bytes; when there are none left, each is the first possible one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        start = self._at
        self._at = min(start + size, len(self._data))
        return self._data[start : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def number(self, most: int) -> int:
        """0 <= n <= most."""
        size = (most.bit_length() + 7) // 8
        return int.from_bytes(self.take(size), "little") % (most + 1)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(len(options) - 1)]

    def part(self) -> bytes:
        """Some bytes behind their length (two bytes)."""
        return self.take(self.number(0xFFFF))


def part(data: bytes) -> bytes:
    """What `Choices.part` reads; for seeds."""
    return len(data).to_bytes(2, "little") + data
