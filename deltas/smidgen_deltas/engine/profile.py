"""What a device may be asked to do when it applies a delta; the maker keeps to it.

A profile is a name, or settings behind a name: "desktop", "small,memory=64M", "full,without=xz,without=gzip",
"full,saves=256K" for devices that had rather fetch 256 KiB more than encode for a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from smidgen_deltas.errors import UsageError
from smidgen_deltas.native.delta import Cpu

_UNITS: Final = {"K": 10, "M": 20, "G": 30}


@dataclass(frozen=True, slots=True)
class Profile:
    """Bounds of a device.

    Args:
        cpu: the most that re-encoding may take.
        memory: bytes that applying may need at most, for one core, beside mapped files.
        quick: streams are compressed with zstd, which is decoded several times as fast as LZMA2 but is larger.
        without: names of transforms that the device does not have.
        saves: bytes that a second of one core, spent on encoding again, must save.
    """

    name: str
    cpu: Cpu
    memory: int
    quick: bool = False
    without: frozenset[str] = frozenset()
    saves: int = 0

    def allows(self, name: str, cpu: Cpu, memory: int) -> bool:
        """Whether a transform with this cost may be used."""
        return name not in self.without and cpu <= self.cpu and memory <= self.memory


FULL: Final = Profile("full", Cpu.EXTREME, 8 << 30)
PROFILES: Final = {
    "full": FULL,
    "desktop": Profile("desktop", Cpu.HEAVY, 1 << 30),
    "light": Profile("light", Cpu.LIGHT, 256 << 20),
    "small": Profile("small", Cpu.NONE, 64 << 20, quick=True),
}


def parse_profile(text: str) -> Profile:
    """Read a profile. Raises UsageError that names what is wrong."""
    name, *settings = text.split(",")
    if name not in PROFILES:
        raise UsageError("no such profile", profile=name, known=", ".join(PROFILES))
    profile = PROFILES[name]
    for setting in settings:
        key, _, value = setting.partition("=")
        profile = _set(profile, key, value)
    return profile


def _set(profile: Profile, key: str, value: str) -> Profile:
    if key == "cpu" and value.upper() in Cpu.__members__:
        return replace(profile, cpu=Cpu[value.upper()])
    if key == "memory" and (size := _size(value)):
        return replace(profile, memory=size)
    if key == "codec" and value in ("zstd", "lzma2"):
        return replace(profile, quick=value == "zstd")
    if key == "without" and value:
        return replace(profile, without=profile.without | {value})
    if key == "saves" and (size := _size(value)):
        return replace(profile, saves=size)
    raise UsageError(
        "no such profile setting", setting=f"{key}={value}", known="cpu=none|light|heavy|extreme, memory=SIZE, "
        "codec=zstd|lzma2, without=TRANSFORM, saves=SIZE",
    )  # fmt: skip


def _size(text: str) -> int:
    shift = _UNITS.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    return int(digits) << shift if digits.isdecimal() else 0
