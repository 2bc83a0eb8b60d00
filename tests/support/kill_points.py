"""Commands that die at a chosen change of the disk: builds the shim, keeps a zygote, counts the changes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

from support import zygote
from support.power_cut import read_trace

SOURCE = Path(__file__).parent / "shim/fault_shim.c"
KILLED = -9
POINTS = "fault points"  # property of a test: at how many moments it killed a process or cut the power


@cache
def build_shim() -> Path:
    """The compiled shim. Needs a C compiler, as the product does."""
    built = Path(mkdtemp(prefix="smidgen-shim-")) / "fault_shim.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", built, SOURCE, "-ldl", "-pthread"], check=True)
    return built


def environment() -> dict[str, str]:
    """For a process under the shim."""
    return {
        **os.environ,
        "LD_PRELOAD": str(build_shim()),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@dataclass(frozen=True, slots=True)
class Run:
    """How a command ended, and how many changes below the root it made."""

    status: int
    changes: int
    output: str

    @property
    def killed(self) -> bool:
        return self.status == KILLED

    @property
    def result(self) -> dict[str, object]:
        """The last line of JSON that it printed."""
        found: dict[str, object] = json.loads(self.output.strip().splitlines()[-1])
        return found


def points(whole: Run, trace: Path) -> list[tuple[int, bool]]:
    """Where to kill: before each change of a run that went to its end, and in the middle of each write (True)."""
    kinds = [change.kind for change in read_trace(trace)]
    before = [(number, False) for number in range(1, whole.changes + 1)]
    return before + [(number, True) for number, kind in enumerate(kinds, 1) if kind == "W"]


class Zygote:
    """Runs commands whose changes below `root` count."""

    def __init__(self, process: subprocess.Popen[str], root: Path, work: Path) -> None:
        self._process, self._root, self._work = process, root, work
        self._boot = work / "boot_id"
        self.reboot()

    def reboot(self) -> None:
        """What runs from now on runs in another boot of the machine."""
        self._boot.write_text(f"{uuid4()}\n")

    def run(self, *argv: str | Path, kill: int = 0, torn: bool = False, trace: Path | None = None) -> Run:
        """One command, to its end or to the `kill`-th change; torn: half of that change is done if it is a write."""
        counter, log = self._work / "count", self._work / "log"
        counter.write_bytes(bytes(8))
        order = {
            "argv": [str(word) for word in argv],
            "root": str(self._root),
            "count": str(counter),
            "kill": kill,
            "torn": int(torn),
            "trace": str(trace or ""),
            "boot": str(self._boot),
            "log": str(log),
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        (changes,) = struct.unpack("=q", counter.read_bytes())
        return Run(status, changes, log.read_text())


@contextmanager
def start_zygote(root: Path, work: Path, module: str = "support.zygote_client") -> Iterator[Zygote]:
    """root: the folder whose changes count; work: a folder outside of it; module: see support/zygote.py."""
    command = [sys.executable, zygote.__file__, module]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        yield Zygote(process, root.resolve(), work)
        assert process.stdin
        process.stdin.close()
