"""Wheels of successive patch releases, fetched from PyPI by way of pip, and the trees that they install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from smidgen_benchmarks.trees import folder_to_tar
from smidgen_deltas.errors import TransportError

# package -> (old version, new version); for each of the two platforms
PYPI: Final = {
    "numpy": ("2.2.5", "2.2.6"),
    "scipy": ("1.15.2", "1.15.3"),
    "pandas": ("2.2.2", "2.2.3"),
    "ruff": ("0.11.12", "0.11.13"),
    "cryptography": ("44.0.2", "44.0.3"),
}
PLATFORMS: Final = {
    "amd64": ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64"),
    "aarch64": ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64"),
}


def fetch_wheel(project: str, version: str, platform: str, folder: Path) -> Path:
    """A wheel for CPython 3.11 from PyPI, by way of pip. Raises TransportError."""
    target = folder / "wheels" / platform / f"{project}-{version}"
    found = list(target.glob("*.whl"))
    if found:
        return found[0]
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.11", "--dest", str(part)]
    for tag in PLATFORMS[platform]:
        command += ["--platform", tag]
    done = subprocess.run([*command, f"{project}=={version}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TransportError("pip could not fetch a wheel", project=project, version=version, reason=done.stderr[-500:])
    part.rename(target)
    return next(target.glob("*.whl"))


def unpack_wheel(wheel: Path, into: Path) -> None:
    """Lay out a wheel as an installer would."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)  # noqa: S202 - zipfile refuses to leave `into`; the wheel came from PyPI by digest


def tree_of_wheel(wheel: Path) -> Path:
    """A tar of what a wheel installs, beside it; the same wheel always gives the same bytes."""
    tar = wheel.with_name(wheel.name + ".tar")
    if tar.exists():
        return tar
    with tempfile.TemporaryDirectory(dir=wheel.parent, prefix="tree-") as scratch:
        folder, part = Path(scratch) / "tree", Path(scratch) / "tar"
        unpack_wheel(wheel, folder)
        folder_to_tar(folder, part)
        part.rename(tar)
    return tar
