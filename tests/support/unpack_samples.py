"""Files that unpackers must take apart, made from nothing by the libraries at hand."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
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


def deflate(
    plain: bytes = PLAIN, level: int = 6, bits: int = 15, memory: int = 8, strategy: int = zlib.Z_DEFAULT_STRATEGY
) -> bytes:
    """A raw deflate stream of the machine's zlib."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, -bits, memory, strategy)
    return encoder.compress(plain) + encoder.flush()


def wheel() -> bytes:
    """A zip file with a stored, an empty and some compressed members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("empty"), b"")
        archive.writestr("package/module.py", PLAIN[:9000])
        archive.writestr("package/data.bin", PLAIN[:300], zipfile.ZIP_STORED)
        archive.writestr("package/other.py", PLAIN[9000:30000], zipfile.ZIP_DEFLATED, 9)
        archive.comment = b"made for a test"
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body in (("a", PLAIN[:1000]), ("empty", b""), ("folder/\N{SNOWMAN}" * 30, PLAIN[1000:1512])):
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return out.getvalue()


SAMPLES: Final[dict[str, Callable[[], bytes]]] = {
    "xz": xz,
    "zstd": zstd_frame,
    "bzip2": bzip2,
    "gzip": lambda: gzip.compress(PLAIN, 6, mtime=0) + gzip.compress(PLAIN[:100], 9, mtime=1),
    "zlib": lambda: zlib.compress(PLAIN, 9),
    "zip": wheel,
    "tar": tar,
    "cpio": lambda: CpioUnpacker().sample()[0],
    "ar": lambda: ArUnpacker().sample()[0],
    "bzimage": lambda: BzImageUnpacker().sample()[0],
    "zboot": lambda: ZbootUnpacker().sample()[0],
}
