"""Tests that drive stock ostree, with a newer generation of it than this machine has: `make newer-ostree`.

The packages of a newer Debian release are unpacked beside the system (mmdebstrap, nothing is installed), and `ostree`
on the PATH of the tests is that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PLACE: Final = ROOT / "build" / "newer-ostree"
SUITE: Final = os.environ.get("SUITE", "trixie")
MIRROR: Final = os.environ.get("MIRROR", "http://deb.debian.org/debian")
TESTS: Final = (
    "tests/interop/test_static_delta_stock.py",
    "tests/interop/test_static_delta_damage.py",
    "tests/interop/test_static_delta_server.py",
    "tests/interop/test_delta_command_static.py",
    "tests/interop/test_ostree_server_stock.py",
    "tests/interop/test_export_surface.py",
    "tests/interop/test_container_image.py",
)
WRAPPER: Final = '#!/bin/sh\nexec {loader} --library-path {libraries} {tree}/usr/bin/ostree "$@"\n'


def main() -> int:
    tree = PLACE / SUITE
    if not (tree / "usr/bin/ostree").exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        words = ["mmdebstrap", "--variant=extract", "--include=ostree", "--quiet", SUITE, str(tree), MIRROR]
        subprocess.run(words, check=True)
    loader = next(tree.glob("usr/lib*/ld-linux*.so.*"))
    libraries = next(tree.glob("usr/lib/*-linux-gnu"))
    programs = PLACE / "bin"
    programs.mkdir(exist_ok=True)
    wrapper = programs / "ostree"
    wrapper.write_text(WRAPPER.format(loader=loader, libraries=libraries, tree=tree))
    wrapper.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    version = subprocess.run([wrapper, "--version"], check=True, capture_output=True, text=True)
    print(" ".join(version.stdout.split()[:3]), flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *TESTS, *sys.argv[1:]], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
