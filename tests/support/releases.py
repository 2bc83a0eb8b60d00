"""Two releases of a small tree: text, an ELF program with its addresses moved, a file that only the second one has."""

from __future__ import annotations

import lzma
import threading
import time
from collections.abc import Callable
from pathlib import Path

from smidgen_server.index import deltas
from smidgen_server.index.base import Index
from smidgen_server.index.tables.deltas import delta
from smidgen_server.services.container import Services
from support.device_trees import noise

MODULES = ("argparse", "ast", "decimal", "difflib", "inspect", "pydoc", "tarfile", "typing")


def release(folder: Path, version: int) -> Path:
    """Write the tree of a release below `folder`; returns the folder."""
    import sysconfig

    library = Path(sysconfig.get_paths()["stdlib"])
    for name in MODULES:
        found = library / f"{name}.py"
        text = found.read_text() if found.exists() else f"# {name}\n" * 500
        write(
            folder / f"usr/lib/python/{name}.py",
            f"# release {version}\n{text}".replace("self", "this" * version).encode(),
        )
    program = bytearray(noise("program", 400_000))
    program[1000 : 1000 + 64 * version] = noise(f"code {version}", 64 * version)
    write(folder / "usr/bin/program", bytes(program))
    write(folder / "usr/share/fixed", noise("fixed", 300_000))
    write(folder / "usr/share/doc.xz", lzma.compress(text.encode() + bytes([version]) * 50))
    write(folder / f"usr/share/only-{version}", noise(f"only {version}", 3000 * version))
    write(folder / "usr/share/empty", b"")
    return folder


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def settled(services: Services, timeout: float = 120.0) -> list[deltas.DeltaRow]:
    """All deltas, once none is to be built any more."""
    return until(services.index, lambda found: all(row.state not in deltas.ACTIVE for row in found), timeout)


def until(
    index: Index, wanted: Callable[[list[deltas.DeltaRow]], bool], timeout: float = 120.0
) -> list[deltas.DeltaRow]:
    """All deltas, once they are as wanted. Raises TimeoutError."""
    end, pause = time.monotonic() + timeout, threading.Event()
    while not wanted(found := rows(index)):
        if time.monotonic() > end:
            raise TimeoutError(f"deltas after {timeout} s: {found}")
        pause.wait(0.05)
    return found


def rows(index: Index) -> list[deltas.DeltaRow]:
    with index.read() as session:
        return [deltas.as_row(row) for row in session.execute(deltas.rows().order_by(delta.c.id))]
