"""Running one step of a benchmark in a child process, with the kernel's own account of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from smidgen_deltas.errors import SmidgenError

BLOCK = 1 << 20


class StepFailed(SmidgenError):
    """A measured command ended with an error."""

    exit = 60
    hint = "Run the named command by hand; its output is in the detail."


@dataclass(frozen=True, slots=True)
class Usage:
    """What a step took: wall and processor seconds, and the peak resident memory in bytes of its largest process."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
        )


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdout: Path | None = None,
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> Usage:
    """Run `command` to its end.

    Args:
        stdout: file for the standard output; otherwise it is only kept to explain a failure, as standard error is.
        accept: exit codes that mean success.
    Raises StepFailed with the last of what it printed.
    """
    started = time.perf_counter()
    with _output(stdout) as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if stdout is None else errors,
            env={**os.environ, **environment} if environment else None,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode not in accept:
            raise StepFailed(
                "a step of the benchmark failed",
                command=" ".join(str(word) for word in command)[:500],
                exit=process.returncode,
                output=_tail(out if stdout is None else errors),
            )
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(entry.lstat().st_size for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink())
    return path.stat().st_size


def _output(path: Path | None) -> IO[bytes]:
    """A file to write to: the given one, or an unnamed one."""
    return path.open("wb") if path else tempfile.TemporaryFile()


def _tail(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 2000))
    return file.read().decode(errors="replace")
