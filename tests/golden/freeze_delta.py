"""Writes the golden deltas: `python tests/golden/freeze_delta.py`. Only for a new version of the format or a transform:
files that are there already are never written again."""

from __future__ import annotations

import lzma
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.delta_trees import delta_of, file_of
from support.elf_images import functions, grow, image
from support.elf_objects import relocatable

FOLDER = Path(__file__).parent / "delta"


def pairs() -> dict[str, tuple[bytes, bytes]]:
    """Name -> old and new file. Small, and each needs another part of the decoder."""
    made = functions(3, 60)
    grown = grow(made, 7, bytes(range(48)))
    noise = random.Random(2).randbytes(3000)
    text = b"".join(b"%d\n" % random.Random(number).getrandbits(40) for number in range(500))
    return {
        "plain": (noise, noise[:1000] + b"inserted" + noise[900:2500]),
        "x86-64": (image(made, "x86-64"), image(grown, "x86-64")),
        "aarch64": (image(made, "aarch64"), image(grown, "aarch64")),
        "relocatable": (relocatable(made), relocatable(grown)),
        "xz": (lzma.compress(text), lzma.compress(text[:500] + b"!" + text[500:])),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (old, new) in pairs().items():
        target = FOLDER / f"{name}.delta"
        if target.exists():
            continue
        (FOLDER / f"{name}.old").write_bytes(old)
        (FOLDER / f"{name}.new").write_bytes(new)
        target.write_bytes(delta_of([file_of(old)[0]], file_of(new)[0], "best")[0])


if __name__ == "__main__":
    main()
