"""A Dask cluster on this machine: a scheduler and workers of one thread each, every one a process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """`address` is HOST:PORT of the scheduler."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: tuple[subprocess.Popen[bytes], ...]


@contextmanager
def start_cluster(folder: Path, workers: int) -> Iterator[DaskCluster]:
    """Killed at the end; logs are in `folder`."""
    folder.mkdir()
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = ["dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={file}"]
        process = stack.enter_context(_run(folder / "scheduler.log", scheduler))
        address = _address(file, process)
        command = ["dask_worker", address, "--nthreads=1", "--no-nanny", "--no-dashboard", "--host=127.0.0.1"]
        started = [
            stack.enter_context(
                _run(folder / f"worker{at}.log", [*command, f"--local-directory={folder / f'worker{at}'}"])
            )
            for at in range(workers)
        ]
        yield DaskCluster(address.removeprefix("tcp://"), process, tuple(started))


@contextmanager
def _run(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    module, *arguments = command
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _address(file: Path, process: subprocess.Popen[bytes], timeout: float = 60.0) -> str:
    end, pause = time.monotonic() + timeout, threading.Event()
    while not file.exists() or not file.read_text().strip():
        assert process.poll() is None and time.monotonic() < end, "the Dask scheduler did not start"
        pause.wait(0.05)
    address: str = json.loads(file.read_text())["address"]
    return address
