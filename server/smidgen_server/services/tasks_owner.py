"""Who runs a task: a name from which others on the same machine can tell whether that process still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from secrets import token_hex
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def owner_name() -> str:
    """`host:boot:pid:random`; never the same twice."""
    boot = _BOOT.read_text().strip()[:8] if _BOOT.exists() else "-"
    return f"{socket.gethostname()[:64]}:{boot}:{os.getpid()}:{token_hex(4)}"


def gone(owner: str, me: str) -> bool:
    """True when `owner` ran on this machine and certainly does not run any more.

    The own process id under another random part is an earlier life of this process: in a container every server is
    process 1.
    """
    host, boot, pid, _ = (*owner.split(":"), "", "", "", "")[:4]
    my_host, my_boot, my_pid, _ = me.split(":")
    if host != my_host or not pid.isdigit():
        return False
    if boot != my_boot or pid == my_pid:
        return True
    return not Path(f"/proc/{pid}").exists()
