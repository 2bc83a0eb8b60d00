"""bsdiff with its three streams in LZMA2 instead of bzip2: `python -m smidgen_benchmarks.bsdiff_xz`.

The program bsdiff makes the patch and bspatch applies it; between them only the compression is exchanged, as several
distributions of bsdiff do. Layout of a BSDIFF40 patch: the magic, then as 8-byte little-endian numbers the sizes of the
control and difference streams and of the new file, then the control, difference and extra streams.
Ours: the size of the new file, three compressed sizes, the three streams.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

MAGIC: Final = b"BSDIFF40"
HEADER: Final = struct.Struct("<8sqqq")
OURS: Final = struct.Struct("<qqqq")
FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def from_bzip2(patch: bytes) -> bytes:
    """The same patch with LZMA2 streams."""
    _, control, difference, new = HEADER.unpack_from(patch)
    ends = (HEADER.size, HEADER.size + control, HEADER.size + control + difference, len(patch))
    streams = [bz2.decompress(patch[start:end]) for start, end in zip(ends, ends[1:], strict=False)]
    packed = [lzma.compress(stream, lzma.FORMAT_RAW, filters=FILTERS) for stream in streams]
    return OURS.pack(new, *map(len, packed)) + b"".join(packed)


def to_bzip2(patch: bytes) -> bytes:
    """The inverse of `from_bzip2`, as far as bspatch can tell."""
    new, *sizes = OURS.unpack_from(patch)
    at = OURS.size
    packed = []
    for size in sizes:
        packed.append(bz2.compress(lzma.decompress(patch[at : at + size], lzma.FORMAT_RAW, filters=FILTERS)))
        at += size
    return HEADER.pack(MAGIC, len(packed[0]), len(packed[1]), new) + b"".join(packed)


def main(action: str, old: str, given: str, result: str) -> None:
    with tempfile.TemporaryDirectory(dir=Path(result).parent, prefix="bsdiff-") as folder:
        patch = Path(folder) / "patch"
        if action == "diff":
            subprocess.run(["bsdiff", old, given, patch], check=True)
            Path(result).write_bytes(from_bzip2(patch.read_bytes()))
        else:
            patch.write_bytes(to_bzip2(Path(given).read_bytes()))
            subprocess.run(["bspatch", old, result, patch], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
