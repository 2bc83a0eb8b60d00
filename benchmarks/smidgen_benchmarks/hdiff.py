"""hdiffpatch (PyPI) as a command, so that it is measured like the others: `python -m smidgen_benchmarks.hdiff`."""

from __future__ import annotations

import sys
from pathlib import Path


def main(action: str, one: str, two: str, result: str) -> None:
    import hdiffpatch

    first, second = Path(one).read_bytes(), Path(two).read_bytes()
    if action == "diff":
        patch = hdiffpatch.diff(first, second, compression=hdiffpatch.COMPRESSION_LZMA2, validate=False)
        Path(result).write_bytes(patch)
    else:
        Path(result).write_bytes(hdiffpatch.apply(first, second))


if __name__ == "__main__":
    main(*sys.argv[1:])
