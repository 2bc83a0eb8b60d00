"""Run as a program, with the fault shim preloaded: forks a child for each command, so that imports are paid for once.

`zygote.py MODULE`: the module's `run(argv) -> status` is the command; it imports what it needs when it is imported.
Reads one JSON object a line: `argv`, the shim's settings `root`, `count`, `kill`, `torn`, `trace`, `boot`,
and `log`, the file for the child's output. Answers a line each: the exit status as subprocess has it (-9: killed).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def child(run: Callable[[list[str]], int], order: dict[str, Any]) -> None:
    """Become the command; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in ("root", "count", "kill", "torn", "trace", "boot"):
        os.environ[f"SHIM_{name.upper()}"] = str(order[name])  # for processes that the command starts
    files = [ctypes.c_char_p(order[name].encode() or None) for name in ("root", "count", "trace", "boot")]
    ctypes.CDLL(None).shim_arm(*files[:2], ctypes.c_longlong(order["kill"]), int(order["torn"]), *files[2:])
    status = 70
    try:
        status = run(order["argv"])
    except BaseException:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    run = importlib.import_module(sys.argv[1]).run
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(run, order)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
