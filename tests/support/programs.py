"""Which real programs are installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"


def have(program: str) -> bool:
    """Whether a program is there. "postgres" stands for PostgreSQL's server programs, "root" for being root."""
    if program == "postgres":
        return find_postgres() is not None
    if program == "root":
        return os.geteuid() == 0
    return shutil.which(program) is not None or shutil.which(program, path=SYSTEM) is not None


def find_postgres() -> Path | None:
    """The directory of PostgreSQL's server programs, newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for directory in found:
        if (directory / "initdb").exists():
            return directory
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None
