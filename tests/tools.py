"""Get the real programs that the tests drive: run by `make test`.

On Debian (and Ubuntu), as root, missing packages are installed. Elsewhere each missing program is named, with the tests
that will be left out for it. Always exits 0: leaving out is pytest's business, and with SMIDGEN_ALL_TOOLS set it leaves
out nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support.programs import have  # noqa: E402  (the line above makes it importable)

# program -> Debian package
PACKAGES: Final = {
    "ostree": "ostree",
    "skopeo": "skopeo",
    "podman": "podman",
    "buildah": "buildah",
    "flatpak": "flatpak",
    "dbus-run-session": "dbus-daemon",
    "nginx": "nginx-light",
    "postgres": "postgresql",
    "gpg": "gnupg",
    "gpgv": "gpgv",
    "xdelta3": "xdelta3",
    "zstd": "zstd",
    "getfattr": "attr",
    "bsdtar": "libarchive-tools",
    "ip": "iproute2",
    "tc": "iproute2",
    "tar": "tar",
    "cpio": "cpio",
    "unsquashfs": "squashfs-tools",
    "mksquashfs": "squashfs-tools",
    "curl": "curl",
    "openssl": "openssl",
    "runuser": "util-linux",
}
ROOT: Final = Path(__file__).parent.parent


class Needs:
    """pytest plugin: which tests need which program."""

    def __init__(self) -> None:
        self.tests: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("needs"):
                for program in mark.args:
                    self.tests.setdefault(str(program), []).append(item.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Collecting is not testing: its summary would only confuse."""


def main() -> int:
    missing = [program for program in PACKAGES if not have(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(sorted({PACKAGES[program] for program in missing}))
    report([program for program in PACKAGES if not have(program)])
    return 0


def install(packages: list[str]) -> None:
    """One package at a time would be slow; all at once fails for one that this release does not have: try both."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    print(f"Installing what the tests drive: {' '.join(packages)}", flush=True)
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, stdout=subprocess.DEVNULL)
    if subprocess.run([*command, *packages], env=environment, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        for package in packages:
            subprocess.run([*command, package], env=environment, check=False, stdout=subprocess.DEVNULL)


def report(missing: list[str]) -> None:
    """Name what is not there and what is left out for it."""
    if not missing:
        print("All programs that the tests drive are here.")
        return
    needs = Needs()
    with open(os.devnull, "w") as silence:
        kept, sys.stdout = sys.stdout, silence
        try:
            pytest.main(["--collect-only", "-qq", "--rootdir", str(ROOT), str(ROOT / "tests")], plugins=[needs])
        finally:
            sys.stdout = kept
    for program in missing:
        tests = needs.tests.get(program, [])
        print(f"Not here: {program} (Debian package {PACKAGES[program]}); {len(tests)} tests are left out:")
        for test in tests:
            print(f"    {test}")


if __name__ == "__main__":
    sys.exit(main())
