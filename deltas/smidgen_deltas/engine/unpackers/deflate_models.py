"""The deflate encoders that are known, as parameters of the model in the kernels.

A model's position in MODELS is part of the recipe format: never reorder, only append. What no model predicts exactly is
corrected, so a model for an encoder need not be perfect to be useful.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final

ZLIB, GZIP, GO, FAST, MINIZ = 0, 1, 2, 3, 4
ROLLING, GO_HASH, KLAUSPOST_HASH = 0, 1, 2
ZLIB_CODES, GO_CODES, MINIZ_CODES = 0, 1, 2  # how Huffman code lengths are computed

_TOO_FAR: Final = 4096
_SKIP_NOTHING: Final = 0


@dataclass(frozen=True, slots=True)
class Model:
    """See struct Parameters in kernels/deflate_model.pxd for the meaning of most fields."""

    name: str
    family: int
    level: int
    lazy: bool
    good: int
    max_lazy: int
    nice: int
    chain: int
    hash_bits: int = 15
    hash_kind: int = ROLLING
    window_bits: int = 15
    too_far: int = _SKIP_NOTHING
    too_far_length: int = 3
    min_length: int = 3
    filtered: int = 0
    only: int = 0
    block_tokens: int = 0
    cut_blocks: bool = False

    @property
    def codes(self) -> int:
        """How this encoder computes code lengths."""
        return {GO: GO_CODES, FAST: GO_CODES, MINIZ: MINIZ_CODES}.get(self.family, ZLIB_CODES)

    @property
    def joined(self) -> bool:
        """Do its runs of code lengths reach from one code into the next?"""
        return self.family in (GO, FAST)

    def parameters(self) -> dict[str, int]:
        """As the kernels want them."""
        values = asdict(self)
        del values["name"]
        return values


# Level: good, lazy, nice, chain. The table that zlib and GNU gzip share; the first three are greedy.
_CLASSIC: Final = {
    1: (4, 4, 8, 4),
    2: (4, 5, 16, 8),
    3: (4, 6, 32, 32),
    4: (4, 4, 16, 16),
    5: (8, 16, 32, 32),
    6: (8, 16, 128, 128),
    7: (8, 32, 128, 256),
    8: (32, 128, 258, 1024),
    9: (32, 258, 258, 4096),
}
# Go's compress/flate: greedy for 2 and 3, where the second number is the longest match whose inside is hashed.
_GO: Final = {
    2: (4, 5, 16, 8),
    3: (4, 6, 32, 32),
    4: (4, 4, 16, 16),
    5: (8, 16, 32, 32),
    6: (8, 16, 128, 128),
    7: (8, 32, 128, 256),
    8: (32, 128, 258, 1024),
    9: (32, 258, 258, 4096),
}
_MINIZ_PROBES: Final = (0, 1, 6, 32, 16, 32, 128, 256, 512, 768, 1500)


def _classic(level: int, family: int, name: str) -> Model:
    good, max_lazy, nice, chain = _CLASSIC[level]
    lazy = level > 3
    return Model(
        f"{name} -{level}",
        family,
        level,
        lazy,
        good,
        max_lazy,
        nice,
        chain,
        too_far=_TOO_FAR if lazy else 0,
        block_tokens=32767 if family == GZIP else 16383,
        cut_blocks=family == GZIP,
    )


def _go(level: int) -> Model:
    good, max_lazy, nice, chain = _GO[level]
    return Model(
        f"Go compress/flate {level}",
        GO,
        level,
        level > 3,
        good,
        max_lazy,
        nice,
        chain,
        hash_bits=17,
        hash_kind=GO_HASH,
        too_far=_TOO_FAR,
        too_far_length=4,
        min_length=4,
        block_tokens=16384,
    )


def _miniz(level: int) -> Model:
    """miniz and miniz_oxide, which is what most programs in Rust have."""
    return Model(
        f"miniz {level}",
        MINIZ,
        level,
        level > 3,
        32,
        128 if level > 3 else 258,
        258,
        _MINIZ_PROBES[level],
        too_far=8192,
    )


def _memory(model: Model, mem_level: int) -> Model:
    """zlib with another memLevel, which sets the hash and how many tokens a block has."""
    return replace(
        model,
        name=f"{model.name} memLevel {mem_level}",
        hash_bits=mem_level + 7,
        block_tokens=(1 << (mem_level + 6)) - 1,
    )


_ZLIB: Final = tuple(_classic(level, ZLIB, "zlib") for level in range(1, 10))
MODELS: Final = (
    *_ZLIB,
    *(_classic(level, GZIP, "GNU gzip") for level in range(1, 10)),
    *(_go(level) for level in range(2, 10)),
    *(_memory(model, 9) for model in _ZLIB),
    replace(_ZLIB[5], name="Huffman codes only", only=1, lazy=False),
    replace(_ZLIB[5], name="run lengths only", only=2, lazy=False),
    replace(_ZLIB[5], name="zlib -6 filtered", filtered=5),
    replace(_ZLIB[8], name="zlib -9 filtered", filtered=5),
    Model("klauspost flate 5", FAST, 5, False, 0, 0, 0, 0, hash_bits=1, min_length=4),
    *(_miniz(level) for level in range(2, 11)),
)
# Tried in this order: the ones that most files are made with come first, so that the others stop early.
USUAL: Final = (
    "zlib -6",
    "GNU gzip -6",
    "GNU gzip -9",
    "zlib -9",
    "Go compress/flate 6",
    "klauspost flate 5",
    "miniz 6",
)
ORDER: Final = tuple(
    sorted(range(len(MODELS)), key=lambda i: USUAL.index(MODELS[i].name) if MODELS[i].name in USUAL else len(USUAL) + i)
)
