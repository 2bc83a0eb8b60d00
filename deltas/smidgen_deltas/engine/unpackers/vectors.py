"""What the self-tests rebuild: data computed from nothing, and the frozen digests of what encoders must make of it.

The digests were taken with liblzma 5.4.1, libzstd 1.5.7 and 1.5.4, and bzip2 1.0.8 and checked against files
that the real tools wrote.
If one of them must change, files made by the older encoder are no longer rebuilt: keep both then.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable
from typing import Final

LIBLZMA: Final = getattr(lzma, "LZMA_VERSION", "unknown")

_WORDS: Final = (
    b"the of and to in is module_init return static const struct void int char 0x0000 device driver kernel register "
    b"unsigned long printk error if else while for break case switch default sizeof NULL goto out free alloc lock"
).split()


def plain(size: int) -> bytes:
    """`size` bytes that compress like source code with some binary noise between; always the same."""
    out = bytearray()
    state = 12345
    while len(out) < size:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        pick = state >> 8
        if pick % 23 == 0:
            out += state.to_bytes(4, "little") * (1 + pick % 3)
        elif pick % 31 == 0:
            back = 1 + pick % max(1, min(len(out), 40_000))
            out += out[-back : len(out) - back + 10 + pick % 300]
        else:
            out += _WORDS[pick % len(_WORDS)] + (b"\n" if pick % 11 == 0 else b" ")
    return bytes(out[:size])


def digest(parts: Iterable[bytes]) -> str:
    """sha256 of all parts, hex."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


XZ_DIGESTS: Final = (  # by number of the encoder setting
    "034cb1ffb1ec9f1d526f597e3abcacfc8c427a4402303a1a19c61a9820238cae",
    "a609f0c77300ea3da0e6ba9f2fcae25c1ab357882747381adf0eef5be807eafb",
    "dc3144d023d00a2a9e6da460067b28e5809613dceb6dea2b783cfccb53a7affd",
    "25ae1654d69fe151ba7a0d7b7912bd6034ccb2071fcc108d884a542344d485f9",
    "f936bf57442e3a61b74ef3454fde918b2488d9dffe25c3794b3411f2c167ff14",
    "d7b8fdc451cd95130eb6baccb25f4c18eafc6b71395994f9e486ca0dc4abf9f4",
    "2cb8ec442c01a738ca7770565d87a6c0f0a829798936870643539daf5f5e5385",
    "4d37fa39a25fd09a2892838cf05686cfa7dde12ba460b5c6d91165f466b169b9",
    "150e91089ba5da3cf8d5ca964ff3071e1a94a08bcccd28847c7ba2b17d8e32ff",
)
ZSTD_DIGESTS: Final = {  # by version of libzstd, then level and whether in threaded mode
    "1.5.7": {
        (3, True): "d30ddc8890a289ee0a067973556454aa2c0e03b9f591f52f453dc3fd988fce16",
        (9, True): "1a3739d10ac410c7b77c0467b698fa40fecf44c91c5da57c08942deb81f15378",
        (19, False): "796f4c8277502429df473f7f24d223496d56708f0b60eef38c694c02a92486d2",
        (22, True): "92d9bce369f67a8e9353deaa2b4d2d00949cbf1f56762ff1eb7edeede5717cb8",
    },
    "1.5.4": {
        (3, True): "f40ae705a426d73bbf4fa929eedae4ea5a7b29ca0d84866e5e2cd63df985786b",
        (9, True): "f35a96e9ebc5ea5168587ac66d90c443887fb5c87532a74829accc2812fa0cc6",
        (19, False): "89e721b1ccdfe7d319126ea82963040132805430028104fc32e744a15a7b89f4",
        (22, True): "3f2492b2bbc12ec4bd6568a0c811fdc82ad804e7bfcb395a17945aa1dfc97c14",
    },
}
BZIP2_DIGESTS: Final = {  # by level
    1: "7d0afad10274dd027c5283edbbdc84582c5880189e9167a60cc4fc0af39c105f",
    9: "b461e81facd6498feaf5d0909dc6e01ac097e6c84c99fd8ffacac9b06435c8b3",
}
