"""Files that unpackers must take apart, made from nothing by the libraries at hand."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers import vectors
from smidgen_deltas.engine.unpackers.ar import ArUnpacker
from smidgen_deltas.engine.unpackers.cpio import CpioUnpacker
from smidgen_deltas.engine.unpackers.kernel_image import BzImageUnpacker, ZbootUnpacker

PLAIN: Final = vectors.plain(60_000)


def xz(plain: bytes = PLAIN, preset: int = 6) -> bytes:
    return lzma.compress(plain, preset=preset)


def zstd_frame(plain: bytes = PLAIN, level: int = 3) -> bytes:
    return zstd.compress(plain, level, checksum=True)


def bzip2(plain: bytes = PLAIN) -> bytes:
    return bz2.compress(plain, 9)


SAMPLES: Final[dict[str, Callable[[], bytes]]] = {
    "xz": xz,
    "zstd": zstd_frame,
    "bzip2": bzip2,
    "cpio": lambda: CpioUnpacker().sample()[0],
    "ar": lambda: ArUnpacker().sample()[0],
    "bzimage": lambda: BzImageUnpacker().sample()[0],
    "zboot": lambda: ZbootUnpacker().sample()[0],
}
