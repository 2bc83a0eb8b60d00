"""Pairs of old and new input, fetched by public package name and version, or given by the user.

Everything lands in one folder (`bench-data` by default) and is reused from there; the digests of what was used are in
every report, since the Debian pockets move with time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from smidgen_benchmarks.measure import run, sha256
from smidgen_deltas.errors import NotFound, TransportError

Kind = Literal["file", "tar"]

DEBIAN_PACKAGES: Final = (
    "linux-image-amd64,initramfs-tools,systemd-sysv,openssh-server,python3,perl,curl,gnupg,dbus,"
    "ca-certificates,sudo,vim-tiny,less,iproute2,zstd,xz-utils"
)
DEBIAN_SUITES: Final = {"debian12-security": "bookworm", "debian13-security": "trixie"}

# name -> (package, old version, new version); for each of the two platforms
PYPI: Final = {
    "numpy": ("numpy", "2.2.5", "2.2.6"),
    "scipy": ("scipy", "1.15.2", "1.15.3"),
    "pandas": ("pandas", "2.2.2", "2.2.3"),
    "ruff": ("ruff", "0.11.12", "0.11.13"),
    "cryptography": ("cryptography", "44.0.2", "44.0.3"),
}
PLATFORMS: Final = {
    "amd64": ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64"),
    "aarch64": ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of one thing.

    Args:
        kind: "file": compared as they are; "tar": tars of trees, so that tools for trees can unpack them.
    """

    name: str
    kind: Kind
    old: Path
    new: Path

    def digests(self) -> dict[str, str]:
        return {"old": sha256(self.old), "new": sha256(self.new)}


def names() -> list[str]:
    """Every corpus that can be fetched."""
    wheels = [f"pypi-{name}-{platform}" for name in PYPI for platform in PLATFORMS]
    return [*wheels, *DEBIAN_SUITES]


def fetch(name: str, folder: Path) -> Pair:
    """The pair of that name, fetched into `folder` unless it is there. Raises NotFound or TransportError."""
    if name in DEBIAN_SUITES:
        return _debian(name, DEBIAN_SUITES[name], folder)
    family, _, rest = name.partition("-")
    package, _, platform = rest.rpartition("-")
    if family != "pypi" or package not in PYPI or platform not in PLATFORMS:
        raise NotFound("no such corpus", name=name, known=names())
    project, old, new = PYPI[package]
    return Pair(
        name,
        "file",
        fetch_wheel(project, old, platform, folder),
        fetch_wheel(project, new, platform, folder),
    )


def given(pairs: Mapping[str, tuple[Path, Path]]) -> Iterator[Pair]:
    """Pairs of the user's own; two files ending in .tar are taken for trees."""
    for name, (old, new) in pairs.items():
        kind: Kind = "tar" if old.suffix == new.suffix == ".tar" else "file"
        yield Pair(name, kind, old, new)


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


def _debian(name: str, suite: str, folder: Path) -> Pair:
    release = f"deb http://deb.debian.org/debian {suite} main"
    security = f"deb http://security.debian.org/debian-security {suite}-security main"
    old = _mmdebstrap(folder / f"{name}-old.tar", suite, [release])
    new = _mmdebstrap(folder / f"{name}-new.tar", suite, [release, security])
    return Pair(name, "tar", old, new)


def _mmdebstrap(target: Path, suite: str, sources: list[str]) -> Path:
    if target.exists():
        return target
    if shutil.which("mmdebstrap") is None:
        raise NotFound("mmdebstrap is not installed (Debian package mmdebstrap)")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name("part-" + target.name)
    run(["mmdebstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", suite, part, *sources])
    part.rename(target)
    return target
