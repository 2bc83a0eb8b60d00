"""Run as a program, with the fault shim preloaded: forks a child for each command, so that imports are paid for once.

Reads one JSON object a line: `argv` of `smidgen`, the shim's settings `root`, `count`, `kill`, `torn`, `trace`, `boot`,
and `log`, the file for the child's output. Answers a line each: the exit status as subprocess has it (-9: killed).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

import smidgen_client.commands.pull
import smidgen_client.commands.verify
import smidgen_client.pull.delta_source
import smidgen_client.pull.run
import smidgen_client.stores.oci
import smidgen_client.stores.ostree
import smidgen_client.stores.tree
import smidgen_client.targets.oci
import smidgen_client.targets.ostree
import smidgen_client.targets.tree  # noqa: F401 - what the commands import when they run
from smidgen_client.cli import run


def child(order: dict[str, Any]) -> None:
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
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(order)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
