"""The processes that make deltas, found from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

NAME = b"smidgen_server.delta_process"


def builders(parent: int | None = None) -> list[int]:
    """Ids of processes that make deltas, those that `parent` started or all."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            started_by = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if NAME in command and parent in (None, started_by):
            found.append(int(entry.name))
    return found


def wait_for_builder(*parents: int, timeout: float = 60.0) -> int:
    """The first process that one of `parents` started. Raises TimeoutError."""
    end, pause = time.monotonic() + timeout, threading.Event()
    while not (found := [one for parent in parents for one in builders(parent)]):
        if time.monotonic() > end:
            raise TimeoutError(f"no process makes a delta for {parents}")
        pause.wait(0.002)
    return found[0]


def wait_until_gone(process: int, timeout: float = 60.0) -> None:
    """Raises TimeoutError."""
    end, pause = time.monotonic() + timeout, threading.Event()
    while process in builders():
        if time.monotonic() > end:
            raise TimeoutError(f"process {process} is still there")
        pause.wait(0.02)


def stop(process: int) -> None:
    """Let it hang."""
    os.kill(process, signal.SIGSTOP)


def go_on(process: int) -> None:
    """After `stop`."""
    os.kill(process, signal.SIGCONT)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
