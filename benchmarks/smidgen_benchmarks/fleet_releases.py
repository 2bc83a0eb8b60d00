"""Six successive releases of a tree with two packages from PyPI: what a fleet runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smidgen_benchmarks.wheels import fetch_wheel, unpack_wheel

SITE: Final = "usr/lib/python3/dist-packages"
PACKAGES: Final = {
    "cryptography": ("43.0.1", "43.0.3", "44.0.0", "44.0.1", "44.0.2", "44.0.3"),
    "sqlalchemy": ("2.0.36", "2.0.37", "2.0.38", "2.0.39", "2.0.40", "2.0.41"),
}


def fetch_releases(kept: Path, folder: Path) -> list[Path]:
    """Folders below `folder`, oldest release first; wheels are kept in `kept`. Raises TransportError."""
    releases = []
    for number, versions in enumerate(zip(*PACKAGES.values(), strict=True), start=1):
        tree = folder / f"release{number}"
        (tree / SITE).mkdir(parents=True)
        (tree / "usr/lib/os-release").write_text(f'ID=fleet\nVERSION_ID="{number}"\n')
        for package, version in zip(PACKAGES, versions, strict=True):
            unpack_wheel(fetch_wheel(package, version, "amd64", kept), tree / SITE)
        releases.append(tree)
    return releases
