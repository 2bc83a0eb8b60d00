"""Seeds for unpackers: small files of each format, and the recipes and streams that they become."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator

from fuzz.target import part
from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers import layer, registry, vectors
from smidgen_deltas.engine.unpackers.ar import ArUnpacker
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.engine.unpackers.cpio import CpioUnpacker
from smidgen_deltas.engine.unpackers.kernel_image import BzImageUnpacker, ZbootUnpacker
from support import tars
from support.unpack_samples import bzip2, xz

PLAIN = vectors.plain(1500)
BUDGET = Budget(output=1 << 20, share=4.0)
MOST = 6000


def files() -> dict[str, dict[str, bytes]]:
    """Unpacker -> name -> file."""
    gzipped = gzip.compress(PLAIN, 6, mtime=0)
    framed = {f"level-{level}": zstd.compress(PLAIN, level, checksum=True) for level in (1, 19)}
    return {
        "xz": {"six": xz(PLAIN), "zero": xz(PLAIN, 0)},
        "zstd": framed,
        "zstd-1.5.4": framed,
        "bzip2": {"nine": bzip2(PLAIN)},
        "gzip": {"six": gzipped, "two": gzipped + gzip.compress(PLAIN[:100], 1, mtime=1), "none": gzip.compress(b"")},
        "zlib": {"nine": zlib.compress(PLAIN, 9), "noise": zlib.compress(bytes(range(256)), 1)},
        "zip": {"two": _zip()},
        "tar": {"two": tars.member(b"plain", PLAIN[:700]) + tars.member(b"b", PLAIN[700:]) + tars.END},
        "cpio": {"sample": CpioUnpacker().sample()[0]},
        "ar": {"sample": ArUnpacker().sample()[0]},
        "bzimage": {"sample": BzImageUnpacker().sample()[0]},
        "zboot": {"sample": ZbootUnpacker().sample()[0]},
    }


def unpack_seeds() -> Iterator[tuple[str, str, bytes]]:
    for unpacker in registry.UNPACKERS:
        for name, data in files()[unpacker.name].items():
            if len(data) > MOST:
                continue
            yield f"unpack-{unpacker.name}", name, data
            yield f"reveal-{unpacker.name}", name, data
            split = unpacker.unpack(memoryview(data), BUDGET.start())
            if split:
                streams = split.streams[:7]
                parts = b"".join(part(bytes(stream)) for stream in streams)
                yield f"repack-{unpacker.name}", name, part(split.recipe) + bytes((len(streams),)) + parts
    for name, data in (("gzip", files()["gzip"]["two"]), ("zstd", zstd.compress(PLAIN, 3))):
        yield "layer-analyze", name, data
        recipe = layer.analyze_gzip_layer(io.BytesIO(data), BUDGET)
        if recipe:
            yield "layer-recompress", name, part(recipe) + PLAIN + PLAIN[:100] * (name == "gzip")


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("module.py"), PLAIN, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("data"), PLAIN[:200], zipfile.ZIP_STORED)
    return out.getvalue()
