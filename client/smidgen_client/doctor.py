"""What `smidgen doctor` looks at: a list of checks, each a function that returns a finding.

A new check is a function in CHECKS; it must not change anything that it does not remove again.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from smidgen_client.settings import Environment
from smidgen_client.targets.share import can_clone
from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.errors import SmidgenError

Level = Literal["ok", "note", "bad"]
SPACE: Final = 512 << 20
PROBE: Final = b"smidgen doctor " * 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. level: `bad` keeps smidgen from working, `note` costs speed or comfort."""

    name: str
    level: Level
    text: str


def _python(environment: Environment) -> Finding:  # noqa: ARG001 - a check
    text = f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "bad", f"smidgen {version('smidgen')}, {text}")


def _codec(environment: Environment) -> Finding:  # noqa: ARG001 - a check
    try:
        right = zstd.decompress(zstd.compress(PROBE, 3), len(PROBE)) == PROBE
    except SmidgenError as error:
        return Finding("zstd", "bad", str(error))
    return Finding("zstd", "ok" if right else "bad", "round trip is right" if right else "round trip gives other bytes")


def _state(environment: Environment) -> Finding:
    folder = environment.state
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return Finding("state", "bad", f"{folder} cannot be written: {error.strerror}")
    return Finding("state", "ok", f"{folder} can be written; SQLite {sqlite3.sqlite_version}")


def _space(environment: Environment) -> Finding:
    free = shutil.disk_usage(_existing(environment.state)).free
    return Finding("space", "ok" if free > SPACE else "note", f"{free >> 20} MB free beside the state")


def _xattrs(environment: Environment) -> Finding:
    with tempfile.NamedTemporaryFile(dir=_existing(environment.state)) as file:
        try:
            os.setxattr(file.fileno(), "user.smidgen", b"1")
        except OSError:
            return Finding("xattrs", "note", "no user xattrs here: ostree repositories of mode bare-user do not work")
    return Finding("xattrs", "ok", "user xattrs work")


def _clones(environment: Environment) -> Finding:
    if can_clone(_existing(environment.state)):
        return Finding("clones", "ok", "files can share blocks")
    return Finding("clones", "note", "the file system cannot share blocks; versions of folders use hard links")


def _transforms(environment: Environment) -> Finding:  # noqa: ARG001 - a check
    """Which compressed files this machine's libraries rebuild bit for bit, by the embedded vectors."""
    tests = registry.self_test()
    failed = [f"{test.name}-{test.version} ({test.detail})" for test in tests if not test.ok]
    able = ", ".join(f"{test.name}-{test.version}" for test in tests if test.ok)
    text = f"rebuilds {able}" + (f"; not {', '.join(failed)}" if failed else "")
    return Finding("transforms", "note" if failed else "ok", text)


def _extras(environment: Environment) -> Finding:  # noqa: ARG001 - a check
    there = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    text = ", ".join(f"{name}: {'yes' if found else 'no'}" for name, found in there.items())
    return Finding("extras", "ok", text)


def _tools(environment: Environment) -> Finding:  # noqa: ARG001 - a check
    text = ", ".join(f"{name}: {'yes' if shutil.which(name) else 'no'}" for name in TOOLS)
    return Finding("tools", "ok", text)


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


EXTRAS: Final = {"server": "fastapi", "ui": "rich", "s3": "obstore", "postgres": "psycopg", "cluster": "distributed"}
TOOLS: Final = ("ostree", "skopeo", "podman", "gpgv")
CHECKS: Final[tuple[Callable[[Environment], Finding], ...]] = (
    _python,
    _codec,
    _state,
    _space,
    _xattrs,
    _clones,
    _transforms,
    _extras,
    _tools,
)


def examine(environment: Environment) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    return [check(environment) for check in CHECKS]
