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
    "zlib -1": "7f83ebaeb4a728c2be3eb4c556a77b94670690be04439e4f0d4a46869d97c6b1",
    "zlib -2": "7732b705fc9707b5d127a55b282489edaf0e6c167ba2cacbb8fc45fcbbeb8568",
    "zlib -3": "85493f964e8cee35e2c8fe7b34074a21f8a2dd005224709f31f6f66775fed61e",
    "zlib -4": "155a0ac9fe389c06f3d061fc8612ff7165c7fa951f3fd208200c745baf7cf8bd",
    "zlib -5": "a8ec76873690e649751ef1a62a7dbbfd31ed4f72010f7484e1133075e0ff2df2",
    "zlib -6": "a1a4be6043bc809b548bd4a4c4762302a13c229b144f7b19eb82bc4e2f896b00",
    "zlib -7": "1ded7233af37a49051e88c09e0046ea8eb0f90f6be5e109956868b0c6580268d",
    "zlib -8": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "zlib -9": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "GNU gzip -1": "7f83ebaeb4a728c2be3eb4c556a77b94670690be04439e4f0d4a46869d97c6b1",
    "GNU gzip -2": "7732b705fc9707b5d127a55b282489edaf0e6c167ba2cacbb8fc45fcbbeb8568",
    "GNU gzip -3": "85493f964e8cee35e2c8fe7b34074a21f8a2dd005224709f31f6f66775fed61e",
    "GNU gzip -4": "155a0ac9fe389c06f3d061fc8612ff7165c7fa951f3fd208200c745baf7cf8bd",
    "GNU gzip -5": "a8ec76873690e649751ef1a62a7dbbfd31ed4f72010f7484e1133075e0ff2df2",
    "GNU gzip -6": "a1a4be6043bc809b548bd4a4c4762302a13c229b144f7b19eb82bc4e2f896b00",
    "GNU gzip -7": "1ded7233af37a49051e88c09e0046ea8eb0f90f6be5e109956868b0c6580268d",
    "GNU gzip -8": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "GNU gzip -9": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "Go compress/flate 2": "42b181d7416c2175440ad6e0fa7a5d0704831c83329eb2736c6bc64a813696e7",
    "Go compress/flate 3": "d357cd340c97cecb0143784539aea19cf39254b9469bc3a6f4c2350032bc99bd",
    "Go compress/flate 4": "725761c23a50bab6290448c2e73b3e1b429d5b4e9db9a0b8c8abfbe0a7435120",
    "Go compress/flate 5": "2eddd0ab18b4ad1ca27eb7c136dd2353f6bd49a3bfe9a8586394123569f04255",
    "Go compress/flate 6": "e819203cbc164180fc2917c660cef5e86b3f2ede847ede252232771733b8f820",
    "Go compress/flate 7": "d4699323e4a3e675b3db157e45d2190dd670379bad6876086573ef53b327a5d2",
    "Go compress/flate 8": "a700acf1d2f21dc36a74ec96b669a1de329f17efde2a513ce781819a3279a271",
    "Go compress/flate 9": "a700acf1d2f21dc36a74ec96b669a1de329f17efde2a513ce781819a3279a271",
    "zlib -1 memLevel 9": "d45b3247f91f9ddfec49067b45fa214b2a304b3d96f0e79a1c22d003ce180b38",
    "zlib -2 memLevel 9": "dadb175283d59e5e3b4366445ac1b15e105f2e86ee2e11b01fbabf3dee64cd31",
    "zlib -3 memLevel 9": "dd3917b68b23c7c5f738348e640e72ee0cbd3b88428f852222d47ca26e7e3ab9",
    "zlib -4 memLevel 9": "941066619b44f682d0340549a684519a2092c84fb9ed24bc415d7b4f5e7bbe96",
    "zlib -5 memLevel 9": "595ff7cbc8e8fab6cb0568947fc52fcedcc65de81f1021aa32a7f057cd9aa054",
    "zlib -6 memLevel 9": "b7a38d454699e7aaa800ab9ba535e6846e5c656f2b3a7db625a2b3e79fc79513",
    "zlib -7 memLevel 9": "32595e4a858ae8cb09ad367f44060da236255b33ac2d24c8572d7042f0705bbf",
    "zlib -8 memLevel 9": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "zlib -9 memLevel 9": "e1fe68cf800fe715e6089f09b65a32cffca5af99dedf5e002cb3cabe72303e4f",
    "Huffman codes only": "ae5818ee60c2e90791709573c2b1ce794ae83c1de0f268fefebc80ada72253bb",
    "run lengths only": "eae3e7be95674621e8b12fbbd4812e3225301bd81f344549731789bd59c45317",
    "zlib -6 filtered": "e59fe670e3d9993c345dc4fb45d001821027a8880234ad4701b9b815d39ef73e",
    "zlib -9 filtered": "e326a17e0f33b4b5d36535d21d3cdef0b6283c296416e9cccd90b9c98faf3fea",
    "klauspost flate 5": "e367e066f30cad1469ce2feb15e4e1c4791ed3cf00ed24f752947300be3850ba",
    "miniz 2": "10443f135bb36c9add4fdbb251ca64b666cfde86eee0e798785d07e0ed236cc4",
    "miniz 3": "c3319c587e5b4cd936fbf78de32b1ee9d78fa239b4dbafa01ad0d2d08ce9d104",
    "miniz 4": "3b747975695f5d8c914573bdbd520f48b562ceb33014a438c0188145bc6245ee",
    "miniz 5": "31b29d64b4d63410f536e52365ddee418d9a36bcb199167e35226a8f89d4dca0",
    "miniz 6": "7519975585075923d6cd7207f0e9c3bce340d144b4fd18d684b5f5db03e6b351",
    "miniz 7": "e0b259bcd1fc6bff51e7655df8721cd0d1c49e55349b6e0889a45e6f996c542e",
    "miniz 8": "5382294f22ad7cf0f7c38802c8ad4b2b8575eb15548a1365d671289d919257db",
    "miniz 9": "5382294f22ad7cf0f7c38802c8ad4b2b8575eb15548a1365d671289d919257db",
    "miniz 10": "5382294f22ad7cf0f7c38802c8ad4b2b8575eb15548a1365d671289d919257db",
}
