"""Two releases of a small tree: text, an ELF program with its addresses moved, a file that only the second one has."""

from __future__ import annotations

import lzma
from pathlib import Path

from sqlalchemy import select

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


def settled(services: Services, timeout: float = 60.0) -> list[deltas.DeltaRow]:
    """All deltas, once none waits any more."""
    active = ("queued", "running")
    while waiting := [row.id for row in services.tasks.listing(active, None, 1000) if row.kind == "delta"]:
        services.tasks.wait(waiting[-1], timeout)
    return rows(services.index)


def rows(index: Index) -> list[deltas.DeltaRow]:
    with index.read() as session:
        numbers = list(session.scalars(select(delta.c.id).order_by(delta.c.id)))
        return [row for number in numbers if (row := deltas.find(session, number)) is not None]
