"""Pairs of old and new input, fetched by public package name and version, or given by the user.

Everything lands in one folder (`bench-data` by default) and is reused from there; the digests of what was used are in
every report, since the Debian pockets move with time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from smidgen_benchmarks.measure import run, sha256
from smidgen_benchmarks.wheels import PLATFORMS, PYPI, fetch_wheel, tree_of_wheel
from smidgen_deltas.errors import NotFound

Kind = Literal["file", "tar"]

DEBIAN_PACKAGES: Final = (
    "initramfs-tools,systemd-sysv,openssh-server,python3,perl,curl,gnupg,dbus,"
    "ca-certificates,sudo,vim-tiny,less,iproute2,zstd,xz-utils"
)
DEBIAN_SUITES: Final = {"debian12-security": "bookworm", "debian13-security": "trixie"}
# unpacked only, as no maintainer script of another architecture runs here: without an initrd and what else scripts make
DEBIAN_ARM64: Final = {"debian12-arm64": "bookworm", "debian13-arm64": "trixie"}
FORMS: Final = ("pypi", "wheel")  # what is installed, as a tar; the wheel as it is


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of one thing.

    Args:
        kind: "file": compared as they are; "tar": tars of trees, so that tools for trees can unpack them.
        origins: the public files that the two were made from.
    """

    name: str
    kind: Kind
    old: Path
    new: Path
    origins: tuple[Path, ...] = ()

    def digests(self) -> dict[str, str]:
        """sha256 of both sides and, by name, of what they were made from."""
        return {"old": sha256(self.old), "new": sha256(self.new), **{path.name: sha256(path) for path in self.origins}}


def names() -> list[str]:
    """Every corpus that can be fetched."""
    wheels = [f"{form}-{name}-{platform}" for form in FORMS for name in PYPI for platform in PLATFORMS]
    return [*wheels, *DEBIAN_SUITES, *DEBIAN_ARM64]


def trees() -> list[str]:
    """The whole trees among them."""
    return [*DEBIAN_SUITES, *DEBIAN_ARM64]


def check_names(wanted: Iterable[str]) -> None:
    """Raise NotFound when one of them is not among `names()`."""
    for name in wanted:
        if name not in names():
            raise NotFound("no such corpus; `smidgen bench corpora` lists them", name=name[:100])


def fetch(name: str, folder: Path) -> Pair:
    """The pair of that name, fetched into `folder` unless it is there. Raises NotFound or TransportError."""
    if name in DEBIAN_SUITES:
        packages = ["--variant=minbase", f"--include=linux-image-amd64,{DEBIAN_PACKAGES}"]
        return _debian(name, DEBIAN_SUITES[name], packages, folder)
    if name in DEBIAN_ARM64:
        packages = ["--include=?essential", f"--include=apt,linux-image-arm64,{DEBIAN_PACKAGES}"]
        return _debian(name, DEBIAN_ARM64[name], ["--architectures=arm64", "--variant=extract", *packages], folder)
    form, _, rest = name.partition("-")
    package, _, platform = rest.rpartition("-")
    if form not in FORMS or package not in PYPI or platform not in PLATFORMS:
        raise NotFound("no such corpus", name=name, known=names())
    old, new = (fetch_wheel(package, version, platform, folder) for version in PYPI[package])
    if form == "wheel":
        return Pair(name, "file", old, new)
    return Pair(name, "tar", tree_of_wheel(old), tree_of_wheel(new), (old, new))


def given(pairs: Mapping[str, tuple[Path, Path]]) -> Iterator[Pair]:
    """Pairs of the user's own; two files ending in .tar are taken for trees. Raises NotFound."""
    for name, (old, new) in pairs.items():
        for path in (old, new):
            if not path.is_file():
                raise NotFound("no such file", path=str(path))
        kind: Kind = "tar" if old.suffix == new.suffix == ".tar" else "file"
        yield Pair(name, kind, old, new)


def _debian(name: str, suite: str, how: list[str], folder: Path) -> Pair:
    release = f"deb http://deb.debian.org/debian {suite} main"
    security = f"deb http://security.debian.org/debian-security {suite}-security main"
    old = _mmdebstrap(folder / f"{name}-old.tar", suite, how, [release])
    new = _mmdebstrap(folder / f"{name}-new.tar", suite, how, [release, security])
    return Pair(name, "tar", old, new)


def _mmdebstrap(target: Path, suite: str, how: list[str], sources: list[str]) -> Path:
    if target.exists():
        return target
    if shutil.which("mmdebstrap") is None:
        raise NotFound("mmdebstrap is not installed (Debian package mmdebstrap)")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name("part-" + target.name)
    run(["mmdebstrap", *how, suite, part, *sources])
    part.rename(target)
    return target
