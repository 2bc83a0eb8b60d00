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
DEFLATE_DIGESTS: Final = {  # by name of the model
    "zlib -1": "867a53604cc94f40b174e80e43e9deadbb4a46ddb2893f8ab95c61e09f04fc2c",
    "zlib -2": "c50bcc6573c265dcd90db9af936d9580330ae1514cfa234a0dd75815ae2d09a4",
    "zlib -3": "e79bbf59736c6e28e5f2a798286d9356ccee4386d59b13cb87d50411f1c6633f",
    "zlib -4": "c0c268a0ca828e3fec17a1adbe4141e4d8ca331489843448eca9acb5fd870546",
    "zlib -5": "3f1391bcf2b01ddb08dd2eae2b47beed779bd34b97e1189757b668b8705183f5",
    "zlib -6": "1c71de9e01d78c60dbf478c2c60913a6d325e49ebcb3d89174c42dd4f2c25159",
    "zlib -7": "748ab2eb5cfc22ba5e9b397c30f0cf00c6ae09625a2fa3f4f557b832bfb40ccf",
    "zlib -8": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "zlib -9": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "GNU gzip -1": "0c362f52843989041ed21652415158625381a5a190b52cb0d5af16ac5c3ed462",
    "GNU gzip -2": "af46435359288b8f453c32fe3910f962329f75972ee997d6a4fc262a4d88875f",
    "GNU gzip -3": "e79bbf59736c6e28e5f2a798286d9356ccee4386d59b13cb87d50411f1c6633f",
    "GNU gzip -4": "5d4776be98b489b3c9d49617757e5ca284d333e20df95ab112700521c090df61",
    "GNU gzip -5": "3f1391bcf2b01ddb08dd2eae2b47beed779bd34b97e1189757b668b8705183f5",
    "GNU gzip -6": "1c71de9e01d78c60dbf478c2c60913a6d325e49ebcb3d89174c42dd4f2c25159",
    "GNU gzip -7": "748ab2eb5cfc22ba5e9b397c30f0cf00c6ae09625a2fa3f4f557b832bfb40ccf",
    "GNU gzip -8": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "GNU gzip -9": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "Go compress/flate 2": "9ca8592c6e583b93d10a430bedc9b369078a47ae2d37b8e5a19360e740ff2b81",
    "Go compress/flate 3": "746414c288b1aa09b1ef44568fee9275128e5d33a5d545e75fab739215683ef7",
    "Go compress/flate 4": "3dac1daf8ff3f42fbb441370a1594b3eba07207df5b295b9482c575a2ac22a25",
    "Go compress/flate 5": "b466c74a9b6359a8a5acaf96c6ce5e6d835a63f454fcec4f5f8bfef54887b487",
    "Go compress/flate 6": "7b6a4c77ba2960e4c9b46dfdf19d516897f56c79f960bae9368d126930729596",
    "Go compress/flate 7": "660d4222d6df5da29840ac5da3645f9e9e886bc4563164b161d0b72602a954b2",
    "Go compress/flate 8": "d45056a2b58474f9efdf73fb308d0e2aa47c4c263b73dc8beb030187aac337d1",
    "Go compress/flate 9": "d45056a2b58474f9efdf73fb308d0e2aa47c4c263b73dc8beb030187aac337d1",
    "zlib -1 memLevel 9": "596a8947c9ea3615f74fd708b232799981ef91c67ad9c7b35abd5ae277784f25",
    "zlib -2 memLevel 9": "d89c7855715fb893c6eccd4e06cdeb2f4fc88ed2e197f12b7bc87f668e0c7599",
    "zlib -3 memLevel 9": "93eb72257223d7d319b53458091223718a51d51841ee381f8f5ebede70613429",
    "zlib -4 memLevel 9": "1cbdc8c28c5ec1c25abefab2bb524bc51d2a0a0bca647a9122059e20f32220bf",
    "zlib -5 memLevel 9": "2642e5f9fb213d23cc63cb7d435a40c5b34fcebaa5e1ad3a06b692be8ebe8d05",
    "zlib -6 memLevel 9": "8d672a94f3d1eb5f5727b240657eec5df9bbf8c2c35cda5a2690728004d5eb49",
    "zlib -7 memLevel 9": "550f4b379eaa9c4a4709933c73dae5635b4141eebb8fcd543f81da9ce748a64a",
    "zlib -8 memLevel 9": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "zlib -9 memLevel 9": "2ac25ccba2a66e2555147bca54d5430c6b950198f62813f8e4d24fe4bd0606c0",
    "Huffman codes only": "796eb1f609afcb8fd023209d5666e4274eabdf795b4f6e62066facc182a96358",
    "run lengths only": "48bfa4f4fb8a46750cebb80ab6a9082365819af196dbc27b6229b311e9050bb1",
    "zlib -6 filtered": "c6efaacccfc8553b5a3e173e6ea8a9ba714666994ce33eb251742cef38838274",
    "zlib -9 filtered": "72200e5a4311164f002f170aca8fa85609a64461f9bef2b47b01e08fae499e07",
    "klauspost flate 5": "3efc63fc26aa0f7901bc6e6c01c779d2239896408360087b95a44c4427374a41",
}
