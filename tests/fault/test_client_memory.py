"""However large a file of an update is, the device's memory stays small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.devices import Device
from support.ostree import ostree
from support.server import RunningServer
from support.small_images import publish_files

LIMIT = 96 << 20
PATTERN = os.urandom(4096)
SIZE = 112 << 20


MEASURED = """
import re, sys
from pathlib import Path
from smidgen_client.cli import run
status = run(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(peak[1], file=sys.stderr)
sys.exit(status)
"""


def peak_memory(device: Device, *words: str) -> int:
    """Most resident bytes of a command that ends well; it looks itself, since wait4(2) counts the parent's as well."""
    command = [sys.executable, "-c", MEASURED, *device.command(*words)[3:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024


def large() -> bytes:
    """Compresses well, so that the test is quick."""
    return PATTERN * (SIZE // len(PATTERN))


@pytest.mark.needs("ostree")
def test_a_commit_with_a_file_that_is_larger_than_the_limit(server: RunningServer, tmp_path: Path) -> None:
    tree, origin = tmp_path / "release", tmp_path / "origin"
    tree.mkdir()
    (tree / "large").write_bytes(large())
    ostree(origin, "init", "--mode=bare-user")
    ostree(origin, "commit", "--branch=stable", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0")
    ingest_ostree.publish(server.services, Repository.open(origin), "stable", "os", "stable", no_progress)
    device = Device(tmp_path)
    for store in ("tree", "ostree"):  # fetched, then taken from the other store
        mode = ["--mode", "bare-user"] if store == "ostree" else []
        into = ["--into", device.store(store), *mode]
        assert peak_memory(device, "pull", server.url, "ostree/os/stable", *into) <= LIMIT
    assert (tmp_path / "tree/current/large").stat().st_size == SIZE


def test_an_image_with_a_file_that_is_larger_than_the_limit(server: RunningServer, tmp_path: Path) -> None:
    publish_files(server.services, tmp_path / "image", {"large": large()}, "os")
    device = Device(tmp_path)
    assert peak_memory(device, "pull", server.url, "oci/os:stable", "--into", device.store("oci")) <= LIMIT
