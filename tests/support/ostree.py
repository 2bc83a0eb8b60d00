"""The ostree test vectors, and stock ostree as a command."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "data" / "ostree"
FIRST = bytes.fromhex("17531942bb41af5690643a6db6ed6ac80930d215130e2010a75eb4653f68620e")
SECOND = bytes.fromhex("de454f402b71d274c5f488b3c7810722d83a66a4c5ed1117a965ff0d6bf1992f")
REF = "toy/x86_64/stable"


def unpack_archive_repo(folder: Path) -> Path:
    """The archive repository of the vectors (made by stock ostree), below `folder`."""
    with tarfile.open(VECTORS / "archive-repo.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    repo = folder / "archive"
    for name in ("tmp", "extensions", "state", "refs/remotes", "refs/mirrors"):
        (repo / name).mkdir(parents=True, exist_ok=True)
    return repo


def ostree(repo: Path, *words: str) -> str:
    """Run stock ostree on a repository; its output. Raises CalledProcessError."""
    command = ["ostree", f"--repo={repo}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
